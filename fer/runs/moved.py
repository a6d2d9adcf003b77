"""Where the files are now that a run was trained with: it may have been moved together with them, or its data alone."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fer.runs.record import RunRecord

Move = Callable[[str], str]


def find_files(record: RunRecord, run_dir: Path, data_dir: Path | None = None) -> Move:
    """What says where a file or folder of the record is now, by its path there.

    A relative path is of a file of the run itself. Below the data directory that was trained on: below `data_dir`,
    where one is given. Anything else that is not at its place any more: where it lies as seen from the run as it did
    from the run's first place, if it is there. Nothing says here that the files are the same; their hashes do.
    """
    data = record.data.dir

    def move(path: str) -> str:
        if not Path(path).is_absolute():
            return str(run_dir.resolve() / path)
        if data_dir is not None and Path(path).is_relative_to(data):
            return str(data_dir.resolve() / Path(path).relative_to(data))
        if record.dir is None or os.path.lexists(path):
            return path
        beside = os.path.normpath(run_dir.resolve() / os.path.relpath(path, record.dir))
        return beside if os.path.lexists(beside) else path

    return move


def moved_record(record: RunRecord, move: Move) -> RunRecord:
    """The record with the paths of its data as they are now."""
    files = {move(path): digest for path, digest in record.data.files.items()}
    images = tuple(each.moved(move) for each in record.data.images)
    return replace(record, data=replace(record.data, dir=move(record.data.dir), files=files, images=images))
