"""FER2013's classes and splits, and a source's faces as a stream of checked batches.

`fer.data.source.open_source` reads them from `fer2013.csv` or `icml_face_data.csv`, plain, in a folder or in .gz, .bz2,
.xz, .zip, .tar, .tar.gz, and from folders of images by class, on disk or in an archive. Memory does not grow with the
number of rows.
"""

import enum
import hashlib
from dataclasses import dataclass

import numpy as np

from fer.data.classes import CLASSES as CLASSES

SIDE = 48
PIXELS = SIDE * SIDE


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
SPLIT_NAMES = {split.folder: f"{split.value} ({split.folder})" for split in SPLITS}
"""What figures and tables call a split, by its folder: "PublicTest (val)"."""


def held_out(val_only: bool = False) -> tuple[str, ...]:
    """The folders of the splits that nets are scored on: "val" and, unless it is left for later, "test"."""
    return ("val",) if val_only else ("val", "test")


def fingerprints(pixels: np.ndarray) -> np.ndarray:
    """Half the SHA-256 of each image: uint64 [n, 2] for uint8 [n, H, W]. Equal digests mean equal pixels."""
    digests = b"".join(hashlib.sha256(image).digest()[:16] for image in np.ascontiguousarray(pixels))
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def blanks(pixels: np.ndarray) -> np.ndarray:
    """Which images are of one single value: bool [n] for uint8 [n, H, W]."""
    flat = pixels.reshape(len(pixels), -1)
    same: np.ndarray = flat.max(axis=1) == flat.min(axis=1)
    return same


@dataclass(frozen=True)
class Batch:
    """Faces in the source's order, and what the audit asks of each.

    `splits` (positions in SPLITS) and `labels` uint8 [n], `pixels` uint8 [n, 48, 48], `digests` (of `fingerprints`)
    uint64 [n, 2], `blank` bool [n].
    """

    splits: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray
    digests: np.ndarray
    blank: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def make_batch(splits: np.ndarray, labels: np.ndarray, pixels: np.ndarray) -> Batch:
    """A batch with its digests and blanks worked out."""
    return Batch(splits, labels, pixels, fingerprints(pixels), blanks(pixels))
