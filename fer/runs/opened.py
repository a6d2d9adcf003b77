"""Several runs opened together, and a run that cannot be written."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fer.errors import FerError
from fer.runs.run import RUN_JSON, ExportedModel, Run
from fer.system.files import is_writable


def open_runs(directories: Sequence[Path], parent: Path, data: Path | None = None) -> list[Run]:
    """The runs in these directories, or the newest one in `parent` where none is given; `data` as Run takes it.

    Raises FerError for a directory that is no run's, and for one that is given twice.
    """
    runs = [Run(directory, data) for directory in directories or [newest_run(parent).dir]]
    check_different(runs)
    if data is not None and not data.is_dir():
        raise FerError(f"--data {data}: no such data directory")
    return runs


def check_different(runs: Sequence[Run]) -> None:
    """Raise FerError for a run that is given twice."""
    if len({run.dir.resolve() for run in runs}) < len(runs):
        raise FerError("a run is given twice; give each run once")


@contextmanager
def scores_can_be_kept(run: Run, *, asked: bool) -> Iterator[None]:
    """While open, a run whose folder cannot be written has its scores elsewhere, for as long as it is open.

    Raises FerError unless that is `asked` for, by another place for the outcome.
    """
    if is_writable(run.dir):
        yield
        return
    if not asked:
        raise FerError(f"{run.dir} cannot be written: choose another place with --out DIR")
    with tempfile.TemporaryDirectory(prefix="fer-scores-") as folder:
        elsewhere = Path(folder) / run.scores_dir.name
        if run.scores_dir.is_dir():
            shutil.copytree(run.scores_dir, elsewhere)
        run.scores_dir = elsewhere
        yield


def newest_run(parent: Path) -> Run:
    """The run that was written to last. Raises FerError if there is none."""
    for path in sorted(parent.glob(f"*/{RUN_JSON}"), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(ExportedModel):
            return Run(path.parent)
    raise FerError(f"no run in {parent}/; make one with: fer train lenet")
