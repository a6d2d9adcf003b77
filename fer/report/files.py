"""A report's folder, written atomically."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer.errors import FerError
from fer.runs.run import Run
from fer.system.files import check_free, is_writable, replacement, write_bytes

MARK = "metrics.json"  # every report has one: a folder without it is not ours to replace


def report_folder(runs: Sequence[Run], kind: str, *, val_only: bool) -> Path:
    """Where the report of runs goes by itself: the run's own report folder, or that of several beside the first run.

    One of val alone goes to another folder where there is one of test too.
    """
    names = "-".join((kind, *(run.name for run in runs)))[:100]
    out = runs[0].report_dir if len(runs) == 1 else runs[0].dir.parent / names
    return out.with_name(f"{out.name}-val") if val_only and _is_of_test(out) else out


def _is_of_test(out: Path) -> bool:
    try:
        found = json.loads((out / MARK).read_bytes())
        splits = found["splits"] if "splits" in found else found["runs"][0]["splits"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError):
        return True  # what is not known is not overwritten
    return "test" in splits


def check_place(out: Path) -> None:
    """Raise FerError where no report can be written to `out`."""
    check_free(out, MARK, "report")
    if not is_writable(out.parent):
        raise FerError(f"{out} cannot be written: choose a place for the report with --out DIR")


def publish(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files (names relative to `out`) beside, then put the whole folder in place of an older report.

    Raises FerError: `out` is a file or holds something else than a report; the disk is full or read-only.
    """
    check_place(out)
    with replacement(out) as beside:
        for name, data in files.items():
            write_bytes(beside / name, data, parents=True)
