"""Class folders as Kaggle ships FER2013 (`train/angry/*.jpg`, `test/...`): names to labels, files to faces."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from fer.data.dataset import CLASSES, SIDE, SPLITS, Batch, Split, make_batch
from fer.data.image_file import decode_image, face_of, is_image_name
from fer.errors import FerError
from fer.system.workers import Workers

_SPELLINGS = {
    "angry": 0, "anger": 0, "disgust": 1, "disgusted": 1, "fear": 2, "fearful": 2, "happy": 3, "happiness": 3,
    "sad": 4, "sadness": 4, "surprise": 5, "surprised": 5, "neutral": 6,
}  # fmt: skip
_SPLIT_FOLDERS = {
    "train": Split.TRAIN, "training": Split.TRAIN,
    "val": Split.VAL, "valid": Split.VAL, "validation": Split.VAL, "publictest": Split.VAL,
    "test": Split.TEST, "testing": Split.TEST, "privatetest": Split.TEST,
}  # fmt: skip
_BATCH = 64


@dataclass(frozen=True)
class _Place:
    name: str
    split: Split
    label: int


def read_folders(
    names: Sequence[str], read: Callable[[str], bytes], source: str, workers: Workers, seed: int
) -> Iterator[Batch]:
    """The faces of the image files `names` (relative, with `/`), in that order; `read` gives a file's bytes.

    Other sizes and colour become gray 48 x 48. Without a validation folder, test files named `PublicTest_*` are val
    and `PrivateTest_*` test; else a seeded half of each class of test is val. Raises FerError that names the file.
    """
    places = [_place(name, source) for name in names if is_image_name(name)]
    if not places:
        raise FerError(f"{source}: no image (.jpg, .jpeg, .png, .bmp) in it")
    _check_classes(places, source)
    places = _with_validation(places, source, seed)

    def batches() -> Iterator[list[tuple[_Place, bytes]]]:
        for start in range(0, len(places), _BATCH):
            yield [(place, _read_file(read, place.name, source)) for place in places[start : start + _BATCH]]

    yield from workers.map(partial(_decode_batch, source), batches())


def _place(name: str, source: str) -> _Place:
    parts = [re.sub(r"[^a-z]", "", part.lower()) for part in PurePosixPath(name).parts[:-1]]
    splits = [_SPLIT_FOLDERS[part] for part in parts if part in _SPLIT_FOLDERS]
    if not parts or parts[-1] not in _SPELLINGS:
        folder = PurePosixPath(name).parent
        raise FerError(
            f"{source}/{name}: its folder '{folder}' is not named after a class\n"
            f"The classes are {', '.join(CLASSES)}, in folders like train/angry and test/angry"
        )
    if not splits:
        raise FerError(f"{source}/{name}: not below a folder named train, validation or test")
    return _Place(name, splits[-1], _SPELLINGS[parts[-1]])


def _check_classes(places: Sequence[_Place], source: str) -> None:
    for split in SPLITS:
        present = {place.label for place in places if place.split is split}
        missing = [CLASSES[label] for label in range(len(CLASSES)) if label not in present]
        if missing and (present or split is not Split.VAL):
            raise FerError(f"{source}: {split.folder} has no image of the class {', '.join(missing)}")


def _with_validation(places: list[_Place], source: str, seed: int) -> list[_Place]:
    """`places` with some of test moved to val where the source has no validation part."""
    if any(place.split is Split.VAL for place in places):
        return places
    tests = [row for row, place in enumerate(places) if place.split is Split.TEST]
    prefixes = {row: PurePosixPath(places[row].name).name.lower().split("_")[0] for row in tests}
    if set(prefixes.values()) == {"publictest", "privatetest"}:
        chosen = {row for row in tests if prefixes[row] == "publictest"}
    else:
        chosen = set()
        generator = np.random.default_rng(seed)
        for label in range(len(CLASSES)):
            # Sorted by name, so that the halves do not depend on the order in an archive.
            rows = sorted((row for row in tests if places[row].label == label), key=lambda row: places[row].name)
            if len(rows) < 2:
                raise FerError(f"{source}: test has one image of {CLASSES[label]}: too few to share with validation")
            chosen.update(rows[i] for i in generator.permutation(len(rows))[: len(rows) // 2])
    return [_Place(p.name, Split.VAL, p.label) if row in chosen else p for row, p in enumerate(places)]


def _read_file(read: Callable[[str], bytes], name: str, source: str) -> bytes:
    try:
        return read(name)
    except OSError as error:
        raise FerError(f"{source}/{name}: cannot be read: {error.strerror or error}") from None


def _decode_batch(source: str, batch: list[tuple[_Place, bytes]]) -> Batch:
    pixels = np.empty((len(batch), SIDE, SIDE), np.uint8)
    for row, (place, file) in enumerate(batch):
        try:
            pixels[row] = face_of(decode_image(file))
        except ValueError as error:
            raise FerError(f"{source}/{place.name}: {error}") from None
    splits = np.array([SPLITS.index(place.split) for place, _ in batch], np.uint8)
    return make_batch(splits, np.array([place.label for place, _ in batch], np.uint8), pixels)
