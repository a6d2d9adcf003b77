"""FER2013 in the forms it is shipped in, read as a stream of checked batches.

`read_source` takes `fer2013.csv` or `icml_face_data.csv`, plain or in .gz, .zip, .tar, .tar.gz, and folders of images
by class, on disk or in an archive. Every row is checked; memory does not grow with the number of rows.
"""

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
SIDE = 48
PIXELS = SIDE * SIDE

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Split(enum.Enum):
    """FER2013's three parts; the value is the CSV's `Usage`."""

    TRAIN = "Training"
    VAL = "PublicTest"
    TEST = "PrivateTest"

    @property
    def folder(self) -> str:
        """The name in a data directory: `train`, `val` or `test`."""
        return self.name.lower()


SPLITS = tuple(Split)


@dataclass(frozen=True)
class Sample:
    """One face: `index` counts the source's images from 0, `pixels` is uint8 [48, 48]."""

    index: int
    split: Split
    label: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Faces in the source's order: `splits` (positions in SPLITS), `labels` uint8 [n], `pixels` uint8 [n, 48, 48]."""

    splits: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def samples(batches: Iterable[Batch]) -> Iterator[Sample]:
    """The faces of `batches` one by one."""
    index = 0
    for batch in batches:
        for split, label, pixels in zip(batch.splits, batch.labels, batch.pixels, strict=True):
            yield Sample(index, SPLITS[split], int(label), pixels)
            index += 1


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`map(function, items)` in order on `pool`, with at most `ahead` items under way: memory stays bounded."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
