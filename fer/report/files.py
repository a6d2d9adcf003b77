"""A report's folder, which appears whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from fer.errors import FerError
from fer.system.files import replacement, write_bytes

MARK = "metrics.json"  # every report has one: a folder without it is not ours to replace


def publish(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files (names relative to `out`) beside, then put the whole folder in place of an older report.

    Raises FerError: `out` is a file or holds something else than a report; the disk is full or read-only.
    """
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise FerError(f"{out} is there already and is no report: choose another --out, or remove it")
    with replacement(out) as beside:
        for name, data in files.items():
            write_bytes(beside / name, data, parents=True)
