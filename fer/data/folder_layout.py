"""What the folders of a source say: the split and the class of each image, by names alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fer.data.classes import SEVEN, ClassTable, fold
from fer.data.dataset import Split
from fer.errors import FerError
from fer.system.escapes import escaped

_SPLIT_FOLDERS = {
    "train": Split.TRAIN, "training": Split.TRAIN,
    "val": Split.VAL, "valid": Split.VAL, "validation": Split.VAL, "publictest": Split.VAL,
    "test": Split.TEST, "testing": Split.TEST, "privatetest": Split.TEST,
}  # fmt: skip
_SEVEN = replace(SEVEN, loose=True)
_LOST = "not below a folder named train, validation or test\nFolders of classes alone are divided with --split 80/10/10"


@dataclass(frozen=True)
class Place:
    """An image's file, its split, and its class's number."""

    name: str
    split: Split
    label: int


@dataclass(frozen=True)
class Layout:
    """The images in folders of classes, and the others; `own` says that the classes are called as the folders are."""

    places: list[Place]
    table: ClassTable
    beside: list[str]
    own: bool


@dataclass(frozen=True)
class _Located:
    """The folders that a file lies in, from the outermost; the first and the last named after a split, and that split.

    Where none is, both are -1.
    """

    folders: tuple[str, ...]
    first: int
    last: int
    split: Split | None


@dataclass(frozen=True)
class _Reading:
    """How folders are read: the classes, and which of the folders that a file lies in are named after them."""

    table: ClassTable
    positions: Callable[[_Located], list[int]]
    own: bool = False


def lay_out(images: Sequence[str], source: str, given: ClassTable | None, *, divided: bool) -> Layout:
    """Split and class of `images` (relative names, with `/`).

    The classes are those `given`, or FER2013's where the folders are named after them, or the folders' own, sorted. Not
    `divided`: the folders are of classes alone, and all images are said to be of train.
    Raises FerError that names an image in a folder of no class or split, and for folders that cannot be classes.
    """
    located = {name: _locate(name) for name in images}
    splits = {found.split for found in located.values() if found.split}
    if not divided and len(splits) > 1:
        parts = " and ".join(sorted(split.folder for split in splits))
        raise FerError(f"{source}: has {parts} already, and --split divides what is not divided yet: leave it out")
    if divided and not splits:
        raise FerError(f"{source}/{images[0]}: {_LOST}")
    split_wanted = divided or bool(splits)
    inside = {name: found for name, found in located.items() if found.split or not split_wanted}
    reading = _by_name(given) if given else _reading(inside, source)
    positions = {name: reading.positions(found) if name in inside else [] for name, found in located.items()}
    beside = _beside(positions)
    places = []
    for name in images:
        if name not in beside:
            _check_place(name, source, reading, located[name], bool(positions[name]), split_wanted)
            label = _label(reading, located[name], positions[name])
            places.append(Place(name, (divided and located[name].split) or Split.TRAIN, label))
    return Layout(places, reading.table, sorted(beside), reading.own)


def _locate(name: str) -> _Located:
    folders = PurePosixPath(name).parts[:-1]
    plain = [re.sub(r"[^a-z]", "", part.lower()) for part in folders]
    splits = [place for place, part in enumerate(plain) if part in _SPLIT_FOLDERS]
    if not splits:
        return _Located(folders, -1, -1, None)
    return _Located(folders, splits[0], splits[-1], _SPLIT_FOLDERS[plain[splits[-1]]])


def _by_name(table: ClassTable) -> _Reading:
    """Classes that are named: their folders, at any depth below a split's."""

    def positions(found: _Located) -> list[int]:
        return [k for k, part in enumerate(found.folders) if k > found.first and table.find(part) is not None]

    return _Reading(table, positions)


def _reading(inside: Mapping[str, _Located], source: str) -> _Reading:
    """FER2013's classes where the folders are named after them all, or are too few to be classes; else the folders'.

    A folder that is none of FER2013's and not in every split is no class of its own beside them, but a mistake.
    """
    seven, depth = _by_name(_SEVEN), _depth(list(inside.values()))
    splits: dict[str, set[Split | None]] = {}
    spelled: dict[tuple[str, Split | None], set[str]] = {}
    known, unknown = set(), set()
    for found in inside.values():
        if named := seven.positions(found):
            known.add(_SEVEN.find(found.folders[named[-1]]))
        if len(found.folders) > found.last + depth:
            name = found.folders[found.last + depth]
            splits.setdefault(fold(name), set()).add(found.split)
            spelled.setdefault((fold(name), found.split), set()).add(name)
            unknown.update([] if named else [fold(name)])
    if len(splits) == 1 and not known:
        alone = next(iter(next(iter(spelled.values()))))
        raise FerError(f"{source}: folders as classes: '{escaped(alone)}' alone, and a net tells 2 to 100 apart")
    everywhere = set().union(*splits.values())
    if len(splits) < 2 or (len(known) == len(SEVEN) and not any(splits[name] == everywhere for name in unknown)):
        return seven
    names = []
    for name in splits:
        found_as = [spelled[name, split] for split in (None, *Split) if (name, split) in spelled]
        if twice := next((sorted(each) for each in found_as if len(each) > 1), None):
            raise FerError(
                f"{source}: the folders {' and '.join(map(repr, twice))} differ in capitals alone: rename one"
            )
        names.append(next(iter(found_as[0])))
    try:
        table = ClassTable.named(sorted(names))
    except ValueError as error:
        raise FerError(f"{source}: folders as classes: {error}") from None
    return _Reading(table, lambda found: [found.last + depth] if len(found.folders) > found.last + depth else [], True)


def _depth(located: Sequence[_Located]) -> int:
    """How far below the splits' folders (or the source itself) folders of several names are: 1 for directly there."""
    depth = 1
    while True:
        here = {found.folders[found.last + depth] for found in located if len(found.folders) > found.last + depth}
        deeper = any(len(found.folders) > found.last + depth + 1 for found in located)
        if len(here) != 1 or not deeper:
            return depth
        depth += 1


def _beside(positions: Mapping[str, Sequence[int]]) -> set[str]:
    """The images beside class folders or above them, such as a sample or a picture of the net."""
    above: set[PurePosixPath] = set()
    for name, classes in positions.items():
        if classes:
            folder = PurePosixPath(*PurePosixPath(name).parts[: classes[0]])
            above.update([folder, *folder.parents])
    return {name for name in positions if PurePosixPath(name).parent in above}


def _check_place(
    name: str, source: str, reading: _Reading, found: _Located, in_class: bool, split_wanted: bool
) -> None:
    lost = split_wanted and found.split is None
    if lost and (reading.own or any(reading.table.find(part) is not None for part in found.folders)):
        raise FerError(f"{source}/{name}: {_LOST}")
    if not in_class:
        folder, example = PurePosixPath(name).parent, reading.table.names[0].lower()
        raise FerError(
            f"{source}/{name}: its folder '{folder}' is not named after a class\n"
            f"The classes are {reading.table.shown}, in folders like train/{example} and test/{example}"
        )


def _label(reading: _Reading, found: _Located, positions: Sequence[int]) -> int:
    """Of FER2013's classes the innermost folder counts, of others, which persons may be called as, the outermost."""
    label = reading.table.find(found.folders[positions[-1 if reading.table is _SEVEN else 0]])
    assert label is not None  # positions are of folders that are found
    return label
