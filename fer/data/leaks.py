"""Which images of the held-out splits also lie in Training, pixel for pixel: a net may know them by heart."""

from collections.abc import Iterator
from pathlib import Path

from fer.data.dataset import Split, fingerprints
from fer.formats.database import Database


def in_training(data_dir: Path) -> dict[str, list[str]]:
    """The database keys of such images in a data directory, {"val": [...], "test": [...]}, in the databases' order.

    Raises FerError for a database that cannot be read.
    """
    trained_on = {digest for _, digest in _digests(data_dir, Split.TRAIN)}
    return {
        split.folder: [key for key, digest in _digests(data_dir, split) if digest in trained_on]
        for split in (Split.VAL, Split.TEST)
    }


def _digests(data_dir: Path, split: Split) -> Iterator[tuple[str, bytes]]:
    with Database(data_dir / f"{split.folder}_lmdb") as database:
        for key, image, _ in database:
            yield key, fingerprints(image.reshape(1, -1, image.shape[-1])).tobytes()
