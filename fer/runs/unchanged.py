"""Whether a run's files are still those that it was trained with, as run.json lists them.

What has no hash there, as the log of a training that is under way or was killed, is not looked at.
"""

from collections.abc import Collection
from pathlib import Path

from fer.errors import FerError
from fer.formats.image_list import images_hash
from fer.runs.run import Run
from fer.system.hashes import check_file, file_hash
from fer.system.shell import command


def check_run(run: Run) -> None:
    """Raise FerError, with the cure, where the solver, the net, deploy or the log is not the run's any more."""
    train = command("fer", "train", "--net", run.net, "--solver", run.solver)
    anew = f"put it back, or train what it says now: {train}"
    for name, known in run.record.prototxt_sha256.items():
        if (being_written := run.record.next_sha256.get(name)) is None or file_hash(run.dir / name) != being_written:
            check_file(run.dir / name, known, "the run was trained with it", anew)
    if run.record.log_sha256 is not None:
        shown = command("fer", "report", "--log", run.log)
        check_file(run.log, run.record.log_sha256, "the training ended", f"put it back; {shown} shows it as it is now")


def data_dir(run: Run) -> Path:
    """The data directory of a run, as far as it is found. Raises FerError, with the cure, where it is not."""
    found = Path(run.record.data.dir)
    if not found.is_dir():
        raise FerError(
            f"{found}: the data that {run.dir} was trained on are not there\n"
            "say where they are now with --data DIR (report, export, average, train --resume), or prepare them again"
        )
    return found


def check_data(run: Run, paths: Collection[str] | None = None) -> None:
    """Raise FerError, with the cure, where a file of the training data (one of `paths`) is another now."""
    for name, known in run.record.data.files.items():
        if (paths is None or name in paths) and file_hash(Path(name)) != known:
            raise FerError(
                f"{name} has changed since {run.dir} was trained, and would mix it with other data\n"
                "prepare the same data again, or train anew"
            )
    for each in run.record.data.images if paths is None else ():
        if images_hash(Path(each.list), each.root) != each.sha256:
            raise FerError(
                f"{each.list}: an image that it names has changed since {run.dir} was trained\n"
                "put it back, or train anew"
            )
