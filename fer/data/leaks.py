"""Which images of the held-out splits also lie in Training, pixel for pixel: a net may know them by heart.

Two images are the same where the source has the same pixels for both, whatever a JPEG made of them.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer.data.dataset import SPLITS, Split, fingerprints, held_out
from fer.errors import FerError
from fer.formats.database import Database
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import write_bytes

FINGERPRINTS = "fingerprints.npz"


def write_fingerprints(path: Path, digests: Mapping[str, np.ndarray]) -> None:
    """Write each split's `dataset.fingerprints`, uint64 [n, 2], in the order of its database; atomically.

    Moved copies are left out: none of them is an image of the source. Raises FerError where the file cannot be written.
    """
    stream = io.BytesIO()
    np.savez(stream, **{split.folder: digests[split.folder] for split in SPLITS})  # type: ignore[arg-type]  # numpy types its flag, not the arrays
    write_bytes(path, stream.getvalue())


def read_fingerprints(path: Path) -> dict[str, np.ndarray]:
    """What `write_fingerprints` has written. Raises FerError where it cannot be read."""
    try:
        digests = read_arrays(path, [split.folder for split in SPLITS])
    except (DamagedArchive, FileNotFoundError) as error:
        raise FerError(f"{path}: cannot be read: {error}. `fer prepare SOURCE --force` makes it again") from None
    for split, rows in digests.items():
        if rows.dtype != np.uint64 or rows.shape[1:] != (2,):
            raise FerError(f"{path}: damaged: {split} holds {rows.dtype} {list(rows.shape)}, not uint64 [n, 2]")
    return digests


def in_training(data_dir: Path) -> dict[str, list[str]]:
    """The database keys of such images in a data directory, {"val": [...], "test": [...]}, in the databases' order.

    Raises FerError for a file that cannot be read.
    """
    digests = fingerprints_of(data_dir)
    trained_on = set(map(tuple, digests[Split.TRAIN.folder].tolist()))
    found = {}
    for split in held_out():
        with Database(data_dir / f"{split}_lmdb") as database:
            keys = database.keys()
        if len(keys) != len(digests[split]):
            path, count = data_dir / FINGERPRINTS, len(digests[split])
            raise FerError(f"{path}: {count:,} images of {split}, whose database holds {len(keys):,}")
        found[split] = [key for key, row in zip(keys, digests[split].tolist(), strict=True) if tuple(row) in trained_on]
    return found


def fingerprints_of(data_dir: Path) -> dict[str, np.ndarray]:
    """Each split's `dataset.fingerprints`, uint64 [n, 2], in the order of its index. Raises FerError."""
    if (path := data_dir / FINGERPRINTS).is_file():
        return read_fingerprints(path)
    # An older fer made the directory: the pixels are those that the JPEGs hold.
    return {split.folder: _of_database(data_dir / f"{split.folder}_lmdb") for split in SPLITS}


def _of_database(path: Path) -> np.ndarray:
    with Database(path) as database:
        return np.concatenate([fingerprints(image.reshape(1, -1, image.shape[-1])) for _, image, _ in database])
