"""One split of a data directory: its JPG files, its index and its LMDB, written side by side from laid-aside pixels."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fer.data.affine import moved
from fer.data.dataset import PIXELS, SIDE, Split
from fer.data.image_file import resize_face
from fer.data.manifest import WrittenFolder
from fer.errors import FerError
from fer.formats.database import (
    VOTES,
    Database,
    DatabaseWriter,
    encode_datum,
    encode_file_datum,
    encode_float_datum,
    encode_sized_file_datum,
)
from fer.system.files import cannot_write, sync, write_bytes
from fer.system.workers import Workers

_CHUNK = 128
_PAGE = 4096
# What cv2.imencode does for convert_imageset, which names no quality.
_CAFFE_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Encoding:
    """How images are written: the JPG files' quality, the databases' image side if not 48, and files or pixels."""

    jpeg_quality: int
    resize: int | None
    encoded: bool

    @property
    def side(self) -> int:
        return self.resize or SIDE

    @property
    def datum_bytes(self) -> int:
        """An upper bound of a Datum's size: a JPEG may be larger than its pixels by its tables."""
        return self.side * self.side * (2 if self.encoded else 1) + 2048

    @property
    def bytes_on_disk(self) -> int:
        """About what an image takes: its file, its database pages, its scratch pixels."""
        pages = -(-(self.side * self.side + 64) // _PAGE) * _PAGE
        return _PAGE + pages + 256 + PIXELS


@dataclass(frozen=True)
class Images:
    """The images of a split, in order: of each its row in the scratch file, label, number, and which copy it is.

    Copy 0 is the image itself; another is moved by its entry of `moves`, float64 [n, 2, 3] (see `fer.data.affine`).
    """

    rows: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray
    copies: np.ndarray
    moves: np.ndarray

    @classmethod
    def plain(cls, rows: np.ndarray, labels: np.ndarray) -> "Images":
        """Each image once; image k of the split is number k."""
        count = len(rows)
        return cls(rows, labels, np.arange(count), np.zeros(count, np.int64), np.zeros((count, 2, 3)))

    def with_copies(self, moves: np.ndarray) -> "Images":
        """These and moved copies of all of them; `moves` is [copies, n, 2, 3]."""
        count, times = len(self), len(moves) + 1
        rows, labels, numbers = (np.tile(column, times) for column in (self.rows, self.labels, self.numbers))
        copies = np.repeat(np.arange(times), count)
        return Images(rows, labels, numbers, copies, np.concatenate([self.moves, moves.reshape(-1, 2, 3)]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | np.ndarray) -> "Images":
        return Images(self.rows[part], self.labels[part], self.numbers[part], self.copies[part], self.moves[part])

    def names(self) -> list[str]:
        """00012.jpg, and 00012_1.jpg for its first copy."""
        pairs = zip(self.numbers.tolist(), self.copies.tolist(), strict=True)
        return [f"{number:05d}_{copy}.jpg" if copy else f"{number:05d}.jpg" for number, copy in pairs]


@dataclass(frozen=True)
class SplitResult:
    """What the JPG files are, and `pixel_sum`, int64 [1, H, W], the sum of the database's images."""

    images: WrittenFolder
    pixel_sum: np.ndarray


@dataclass(frozen=True)
class _Chunk:
    """Consecutive records of a database, and the first one's position."""

    first: int
    images: Images


@dataclass(frozen=True)
class _Written:
    """A chunk's records, the sum of its images int64 [1, H, W], and its JPG files' SHA-256 and size in all."""

    records: list[tuple[bytes, bytes]]
    pixel_sum: np.ndarray
    digests: bytes
    file_bytes: int


def write_split(
    directory: Path,
    split: Split,
    scratch: Path,
    images: Images,
    encoding: Encoding,
    workers: Workers,
    report: Callable[[int], None],
) -> SplitResult:
    """Write `<split>/00000.jpg ...`, `<split>.txt` and `<split>_lmdb` into `directory`, in the order of `images`.

    Their pixels are in the file `scratch`. `report` is told how many are written.
    """
    folder = directory / split.folder
    path = directory / f"{split.folder}_lmdb"
    count = len(images)
    chunks = (_Chunk(first, images[first : first + _CHUNK]) for first in range(0, count, _CHUNK))
    pixel_sum = np.zeros((1, encoding.side, encoding.side), np.int64)
    digest = hashlib.sha256()
    file_bytes = done = 0
    try:
        folder.mkdir()
        with DatabaseWriter(path, count, count * encoding.datum_bytes) as database:
            for result in workers.map(partial(_write_chunk, folder, scratch, encoding), chunks):
                database.append(result.records)
                digest.update(result.digests)
                pixel_sum += result.pixel_sum
                file_bytes += result.file_bytes
                done += len(result.records)
                report(done)
        sync(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    index = "".join(f"{name} {label}\n" for name, label in zip(images.names(), images.labels, strict=True))
    write_bytes(directory / f"{split.folder}.txt", index.encode())
    with Database(path) as check:
        if len(check) != count:
            raise FerError(f"{path}: {len(check):,} of {count:,} images arrived in the database. Run again")
    return SplitResult(WrittenFolder(count, file_bytes, digest.hexdigest()), pixel_sum)


def write_votes(directory: Path, split: Split, images: Images, targets: np.ndarray) -> str:
    """Write `<split>_votes_lmdb`: of each image, under its key, the classes' shares of the votes, floats K x 1 x 1.

    `targets` is float32 [n, K], by the images' rows. Returns the path of its file in `directory`.
    """
    name = f"{split.folder}{VOTES}"
    shares = targets[images.rows][:, :, np.newaxis, np.newaxis]
    records = zip(_keys(images.names(), 0), shares, images.labels.tolist(), strict=True)
    with DatabaseWriter(directory / name, len(images), len(images) * (5 * targets.shape[1] + 64)) as database:
        database.append((key, encode_float_datum(values, label)) for key, values, label in records)
    return f"{name}/data.mdb"


def _keys(names: Sequence[str], first: int) -> list[bytes]:
    """Of a database's records, in order; `first` is the first one's position."""
    return [f"{position:08d}_{name}".encode() for position, name in enumerate(names, first)]


def _write_chunk(folder: Path, scratch: Path, encoding: Encoding, chunk: _Chunk) -> _Written:
    images, records, digests = [], [], []
    file_bytes = 0
    names = chunk.images.names()
    keys, labels = _keys(names, chunk.first), chunk.images.labels.tolist()
    for pixels, name, key, label in zip(_pixels(scratch, chunk.images), names, keys, labels, strict=True):
        file = _jpeg(pixels, encoding.jpeg_quality)
        _write_file(f"{folder}{os.sep}{name}", file)
        image, datum = _datum(file, label, encoding)
        images.append(image)
        records.append((key, datum))
        digests.append(hashlib.sha256(file).digest())
        file_bytes += len(file)
    return _Written(records, np.stack(images).sum(axis=0, dtype=np.int64), b"".join(digests), file_bytes)


def _pixels(scratch: Path, images: Images) -> Iterator[np.ndarray]:
    """Each image's pixels, uint8 [48, 48], a copy's moved."""
    for pixels, copy, move in zip(_read_pixels(scratch, images.rows), images.copies, images.moves, strict=True):
        yield moved(pixels, move) if copy else pixels


def _read_pixels(scratch: Path, rows: np.ndarray) -> np.ndarray:
    """The laid-aside images `rows`, uint8 [n, 48, 48]; in one read where they follow each other."""
    count = len(rows)
    with scratch.open("rb") as stream:
        if rows[-1] - rows[0] == count - 1 and (np.diff(rows) == 1).all():
            data = os.pread(stream.fileno(), PIXELS * count, int(rows[0]) * PIXELS)
        else:
            data = b"".join(os.pread(stream.fileno(), PIXELS, row * PIXELS) for row in rows.tolist())
    return np.frombuffer(data, np.uint8).reshape(count, SIDE, SIDE)


def _datum(file: bytes, label: int, encoding: Encoding) -> tuple[np.ndarray, bytes]:
    """What convert_imageset makes of a JPG file: the image Caffe will see, uint8 [1, H, W], and the Datum."""
    image = _decoded(file)
    if encoding.resize:
        image = resize_face(image, encoding.resize)
    if not encoding.encoded:
        return image[np.newaxis], encode_datum(image[np.newaxis], label)
    if not encoding.resize:
        return image[np.newaxis], encode_file_datum(file, label)
    resized = _jpeg(image, _CAFFE_JPEG_QUALITY)
    return _decoded(resized)[np.newaxis], encode_sized_file_datum(resized, (1, *image.shape), label)


def _decoded(file: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE))


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _write_file(path: str, data: bytes) -> None:
    # os.open and os.write: half the time of a buffered file object, for tens of thousands of small files.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if os.write(descriptor, data) != len(data):
            raise FerError(f"{path}: the disk is full. Make room, or write elsewhere with --out")
    finally:
        os.close(descriptor)
