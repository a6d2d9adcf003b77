"""A whole source read and checked, its pixels laid aside in a file: what is known of it before anything is written."""

import re
from pathlib import Path, PurePosixPath

import numpy as np

from fer.data.audit import Catalog
from fer.data.classes import ClassTable
from fer.data.dataset import SPLITS
from fer.data.divide import divide, divide_groups
from fer.data.options import PrepareOptions
from fer.data.source import Reading, open_source
from fer.data.votes import read_votes
from fer.errors import FerError, UsageError
from fer.system.files import cannot_write
from fer.system.plural import counted
from fer.system.progress import StageProgress
from fer.system.workers import Workers


def lay_aside(
    source: Path, scratch: Path, workers: Workers, options: PrepareOptions, progress: StageProgress | None
) -> tuple[Catalog, bool, list[str]]:
    """Read and check the whole source; its pixels go to the file `scratch`, 2304 bytes an image.

    Also returns whether the source is class folders, and the notes on it.
    """
    parts = []
    table = ClassTable.of(options.classes) if options.classes else None
    votes = read_votes(Path(options.votes), table, options.min_votes) if options.votes else None
    reading = Reading(options.seed, None if votes else table, divided=not options.split)
    try:
        with (
            open_source(source, workers, reading, progress=progress, scratch=scratch.parent) as faces,
            scratch.open("wb") as stream,
        ):
            if options.seed and not (faces.in_folders or options.shuffle or options.augment or options.split):
                raise UsageError(
                    f"--seed {options.seed}: nothing is drawn here, as the images of a CSV keep its order.\n"
                    "Leave it out, or give --shuffle or --augment K with it"
                )
            if votes and faces.in_folders:
                raise FerError(f"{source}: votes are joined to the rows of a CSV, and these are class folders")
            for batch in votes.joined(faces.batches, source, faces.classes) if votes else faces.batches:
                stream.write(batch.pixels.tobytes())
                parts.append((batch.splits, batch.labels, batch.digests, batch.blank))
    except OSError as error:
        raise cannot_write(scratch, error) from None
    if not parts:
        raise FerError(f"{options.votes}: no image has a class that {options.min_votes} votes or more are for")
    splits, labels, digests, blank = (np.concatenate(column) for column in zip(*parts, strict=True))
    notes = [*faces.notes, *(votes.notes if votes else [])]
    classes = votes.table.names if votes else faces.classes
    if options.split:
        splits = _divided(source, labels, classes, faces.names, options, notes)
    targets = np.concatenate(votes.targets) if votes else None
    return Catalog(splits, labels, digests, blank, classes, targets), faces.in_folders, notes


def _divided(
    source: Path,
    labels: np.ndarray,
    classes: tuple[str, ...],
    names: list[str] | None,
    options: PrepareOptions,
    notes: list[str],
) -> np.ndarray:
    """The splits of --split, uint8 [N]; a note on them is added."""
    how = f"--split {'/'.join(map(str, options.split))}, drawn with seed {options.seed}"
    if options.group is None:
        splits = divide(labels, classes, options.split, options.seed)
        notes.append(f"{how}, by class: {_shares(splits)}")
        return splits
    groups = _groups(source, names, options.group)
    splits = divide_groups(labels, groups, len(classes), options.split, options.seed)
    persons = ", ".join(f"{len(np.unique(groups[splits == k])):,} {split.folder}" for k, split in enumerate(SPLITS))
    notes.append(f"{how}, by person, and as near by class as they allow: {_shares(splits)}; persons: {persons}")
    return splits


def _shares(splits: np.ndarray) -> str:
    return ", ".join(
        f"{counted(int((splits == k).sum()), 'image')} in {split.folder}" for k, split in enumerate(SPLITS)
    )


def _groups(source: Path, names: list[str] | None, pattern: str) -> np.ndarray:
    """The number of the person of each file, int64 [N]. Raises FerError for a name that tells none."""
    if names is None:
        raise FerError(f"{source}: --group finds persons in files' names, and a CSV has none: leave it out")
    persons = []
    for name in names:
        found = re.search(pattern, name if "/" in pattern else PurePosixPath(name).name)
        if found is None or found[1] is None:
            raise FerError(f"{source}/{name}: --group {pattern} finds no person in its name")
        persons.append(found[1])
    groups: np.ndarray = np.unique(persons, return_inverse=True)[1]
    return groups
