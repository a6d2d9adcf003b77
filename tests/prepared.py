"""What the tests of `prepare` share: running it, and looking at what it left."""

from pathlib import Path

from fer.data.options import PrepareOptions
from fer.data.prepare import Outcome, prepare


def run(source: Path, out: Path, *, force: bool = False, **options) -> Outcome:
    return prepare(source, out, PrepareOptions(**options), force=force)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def left_overs(out: Path) -> list[str]:
    return [path.name for path in out.parent.iterdir() if path != out]
