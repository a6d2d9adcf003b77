"""Whether a data directory is still the one that a run was trained on: the very one, or the same prepared again."""

from pathlib import Path

from fer.data.classes import CLASSES
from fer.data.manifest import MANIFEST, Manifest
from fer.errors import FerError
from fer.runs.run import Run
from fer.system.hashes import file_hash


def check_trained_on(run: Run, manifest: Manifest) -> None:
    """Raise FerError, with the cure, where a run was trained on another data directory than has this manifest now.

    Prepared again it may say other things, but must have the same classes, and the same files for the run.
    """
    trained_on, folder = run.record.data, Path(run.record.data.dir)
    if file_hash(folder / MANIFEST) == trained_on.manifest_sha256:
        return
    classes = trained_on.classes or (manifest.classes if run.record.imported else CLASSES)
    files = {str(folder / name): entry.sha256 for name, entry in manifest.files.items()}
    listed = {path: digest for path, digest in trained_on.files.items() if Path(path).is_relative_to(folder)}
    if manifest.classes == classes and (trained_on.manifest_sha256 is None or _are_among(listed, files)):
        return
    what = "was made anew" if manifest.classes == classes else "has other classes"
    raise FerError(
        f"{folder / MANIFEST} has changed since {run.dir} was trained: the data directory {what} since\n"
        "put it back, prepare the same data again, or train anew"
    )


def _are_among(listed: dict[str, str], files: dict[str, str]) -> bool:
    return bool(listed) and listed.items() <= files.items()
