"""Caffe's data files: the LMDB of Datums and `mean.binaryproto`, byte for byte as Caffe's own tools write them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np
from google.protobuf.message import DecodeError

from fer.errors import FerError
from fer.formats.blobs import read_blob, shape_text, varint, write_blob
from fer.formats.lmdb_pages import check_pages
from fer.schema import caffe_pb2
from fer.system.files import cannot_write

VOTES = "_votes_lmdb"  # how the names of a data directory's databases of votes end


def _check_label(label: int) -> None:
    if not 0 <= label < 1 << 31:
        raise ValueError(f"label {label} is not a class number")


def encode_datum(image: np.ndarray, label: int) -> bytes:
    """The Datum of `convert_imageset`: channels, height, width, data, label, and an explicit `encoded: false`.

    `image` is uint8 [C, H, W]. Raises ValueError for another dtype or rank, or a negative label.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"a Datum takes uint8 [C, H, W], not {image.dtype} {list(image.shape)}")
    _check_label(label)
    channels, height, width = image.shape
    data = image.tobytes()
    head = b"\x08" + varint(channels) + b"\x10" + varint(height) + b"\x18" + varint(width)
    return head + b"\x22" + varint(len(data)) + data + b"\x28" + varint(label) + b"\x38\x00"


def encode_file_datum(file: bytes, label: int) -> bytes:
    """The Datum of `convert_imageset --encoded`: the image file's own bytes, the label, `encoded: true`, no shape."""
    _check_label(label)
    return b"\x22" + varint(len(file)) + file + b"\x28" + varint(label) + b"\x38\x01"


def encode_sized_file_datum(file: bytes, shape: tuple[int, int, int], label: int) -> bytes:
    """The Datum of `convert_imageset --encoded --resize_*`: as `encode_file_datum`, after the shape (C, H, W)."""
    channels, height, width = shape
    head = b"\x08" + varint(channels) + b"\x10" + varint(height) + b"\x18" + varint(width)
    return head + encode_file_datum(file, label)


def encode_float_datum(values: np.ndarray, label: int) -> bytes:
    """A Datum of floats, float32 [C, H, W], and a label. Raises ValueError as `encode_datum` does."""
    if values.dtype != np.float32 or values.ndim != 3:
        raise ValueError(f"a Datum of floats takes float32 [C, H, W], not {values.dtype} {list(values.shape)}")
    _check_label(label)
    shape = dict(zip(("channels", "height", "width"), values.shape, strict=True))
    return caffe_pb2.Datum(**shape, label=label, float_data=values.ravel()).SerializeToString(deterministic=True)


def decode_float_datum(data: bytes) -> tuple[np.ndarray, int]:
    """A Datum's floats, float32 [C, H, W], and its label. Raises FerError for bytes that are no such Datum, and nan."""
    datum = _parse(data)
    shape = (datum.channels, datum.height, datum.width)
    if datum.data or datum.encoded or min(shape) < 1 or len(datum.float_data) != shape[0] * shape[1] * shape[2]:
        raise FerError(f"the Datum says {' x '.join(map(str, shape))} and holds {len(datum.float_data):,} floats")
    if not np.isfinite(values := np.array(datum.float_data, np.float32)).all():
        raise FerError("the Datum holds floats that are not finite")
    return values.reshape(shape), datum.label


def _parse(data: bytes) -> caffe_pb2.Datum:
    try:
        return caffe_pb2.Datum.FromString(data)
    except DecodeError:
        raise FerError("not a Datum: the bytes are cut off or of another kind") from None


def decode_datum(data: bytes) -> tuple[np.ndarray, int]:
    """A Datum's image, uint8 [C, H, W], and its label; an encoded image is decoded as it is (gray stays one channel).

    Raises FerError when the bytes are no Datum, the image is short, long or unreadable, or there is no label.
    """
    datum = _parse(data)
    if not datum.HasField("label"):
        raise FerError("the Datum has no label")
    if datum.encoded:
        return _decode_image(datum.data), datum.label
    shape = (datum.channels, datum.height, datum.width)
    if datum.float_data:
        raise FerError("the Datum holds floats; fer reads images of bytes")
    if min(shape) < 1 or len(datum.data) != shape[0] * shape[1] * shape[2]:
        raise FerError(f"the Datum says {' x '.join(map(str, shape))} and holds {len(datum.data):,} bytes")
    return np.frombuffer(datum.data, np.uint8).reshape(shape), datum.label


def _decode_image(file: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) if file else None
    if image is None or image.dtype != np.uint8:
        raise FerError("the Datum's encoded image cannot be decoded")
    return image[np.newaxis] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1))


def write_mean(path: Path, mean: np.ndarray) -> None:
    """Write `mean`, a number array [C, H, W], as `compute_image_mean` does. Raises FerError where it cannot."""
    write_blob(path, mean[np.newaxis])


def read_mean(path: str | Path) -> np.ndarray:
    """The mean image, float32 [C, H, W].

    Raises FerError when the file is missing, cut off, not finite, or has not the four axes by which Caffe reads it.
    """
    mean = read_blob(Path(path), "mean image")
    if mean.ndim != 4 or len(mean) != 1 or not mean.size:
        cure = ""
        if mean.ndim == 3:  # in Caffe its second axis would be the channels
            cure = f"; Caffe wants {shape_text((1, *mean.shape))}: num, channels, height, width"
        raise FerError(f"{path}: not a mean image: its shape is {shape_text(mean.shape)}{cure}")
    return mean.reshape(mean.shape[1:])


def _check_file(path: Path) -> None:
    """Refuse what LMDB would crash on."""
    file = path / "data.mdb"
    if not path.exists():
        cure = "`fer prepare SOURCE --votes FILE`" if path.name.endswith(VOTES) else "`fer prepare`"
        raise FerError(f"{path}: no such database. {cure} makes one")
    if not file.is_file():
        raise FerError(f"{path}: not an LMDB: it holds no data.mdb")
    check_pages(file)


class Database:
    """A Caffe LMDB, read only: iterates over (key, uint8 [C, H, W], label) in key order, as Caffe's Data layer does.

    Raises FerError when it is missing, not an LMDB, cut off or empty, and on any faulty Datum, which it names.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        _check_file(self.path)
        try:
            # No lock file: the data directory may be read-only, and nothing writes to a finished database.
            self._env = lmdb.open(str(self.path), readonly=True, lock=False, create=False)
        except lmdb.Error as error:
            raise FerError(f"{self.path}: cannot be opened as an LMDB: {error}") from None
        self._count = self._env.stat()["entries"]
        if not self._count:
            self.close()
            raise FerError(f"{self.path}: the database is empty. `fer prepare SOURCE --force` makes it again")

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._env.close()

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, int]]:
        return self._decoded(decode_datum)

    def floats(self) -> Iterator[tuple[str, np.ndarray, int]]:
        """(key, float32 [C, H, W], label) of a database of floats. Raises FerError for any Datum that holds none."""
        return self._decoded(decode_float_datum)

    @property
    def holds_floats(self) -> bool:
        """Whether the first Datum holds floats, and not an image of bytes."""
        with contextlib.suppress(lmdb.Error, FerError), self._env.begin() as transaction:
            return bool(_parse(next(iter(transaction.cursor().iternext(keys=False)), b"")).float_data)
        return False

    def _decoded(self, decode: Callable[[bytes], tuple[np.ndarray, int]]) -> Iterator[tuple[str, np.ndarray, int]]:
        try:
            with self._env.begin() as transaction:
                for raw_key, data in transaction.cursor():
                    key = raw_key.decode("utf-8", "backslashreplace")
                    try:
                        values, label = decode(data)
                    except FerError as error:
                        raise FerError(f"{self.path}: {key}: {error}") from None
                    yield key, values, label
        except lmdb.Error as error:
            raise FerError(f"{self.path}: damaged: {error}. `fer prepare SOURCE --force` makes it again") from None

    def keys(self) -> list[str]:
        """All keys, in order. Raises FerError where the database is damaged."""
        try:
            with self._env.begin() as transaction:
                return [key.decode("utf-8", "backslashreplace") for key in transaction.cursor().iternext(values=False)]
        except lmdb.Error as error:
            raise FerError(f"{self.path}: damaged: {error}. `fer prepare SOURCE --force` makes it again") from None

    def read_all(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Everything in memory: images uint8 [N, C, H, W], labels int64 [N], keys. FerError when the shapes differ."""
        images: np.ndarray | None = None
        labels = np.empty(len(self), np.int64)
        keys = []
        for row, (key, image, label) in enumerate(self):
            if images is None:
                images = np.empty((len(self), *image.shape), np.uint8)
            if image.shape != images.shape[1:]:
                raise FerError(_shape_fault(self.path, key, image.shape, images.shape[1:]))
            images[row], labels[row] = image, label
            keys.append(key)
        if images is None or len(keys) != len(self):
            raise FerError(f"{self.path}: damaged: {len(keys):,} of {len(self):,} records can be read")
        return images, labels, keys


def _shape_fault(path: Path, key: str, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    return f"{path}: {key}: {' x '.join(map(str, shape))}, where the first is {' x '.join(map(str, first))}"


@dataclass(frozen=True)
class DatabaseInfo:
    """What `check_database` found: `shape` is (C, H, W), `label_counts` has one count a class.

    `floats` says that it holds those, votes say, and not images of bytes.
    """

    path: Path
    count: int
    shape: tuple[int, int, int]
    label_counts: tuple[int, ...]
    floats: bool = False


def check_database(path: Path, classes: int) -> DatabaseInfo:
    """Read every Datum: whole, of one shape, label in 0..classes-1. Raises FerError that names the key."""
    counts = [0] * classes
    shape: tuple[int, int, int] | None = None
    with Database(path) as database:
        floats = database.holds_floats
        for key, image, label in database.floats() if floats else database:
            if shape is None:
                shape = (image.shape[0], image.shape[1], image.shape[2])
            if image.shape != shape:
                raise FerError(_shape_fault(database.path, key, image.shape, shape))
            if not 0 <= label < classes:
                raise FerError(f"{database.path}: {key}: label {label} is not 0..{classes - 1}")
            counts[label] += 1
        if shape is None or sum(counts) != len(database):
            raise FerError(f"{database.path}: damaged: {sum(counts):,} of {len(database):,} records can be read")
    return DatabaseInfo(Path(path), sum(counts), shape, tuple(counts), floats)


class DatabaseWriter:
    """Writes a new LMDB at `path` (a directory that must not exist) in ascending key order; a context manager.

    `data_bytes` bounds the sum of all keys and Datums, `count` their number; the map is sized from them and the
    file grows only with what is written. A full disk or a full map is a FerError. Nothing is synced before the end.
    """

    def __init__(self, path: Path, count: int, data_bytes: int):
        self.path = Path(path)
        # Each record may start a page of its own; as much again for the tree, and a floor for small sets.
        map_size = 2 * (data_bytes + 4096 * count) + (16 << 20)
        try:
            self.path.mkdir()
            self._env = lmdb.open(str(self.path), map_size=map_size, lock=False, sync=False, writemap=False)
        except (OSError, lmdb.Error) as error:
            raise self._fault(error) from None

    def __enter__(self) -> "DatabaseWriter":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        try:
            if exc_type is None:
                self._env.sync(True)
        except (OSError, lmdb.Error) as error:
            raise self._fault(error) from None
        finally:
            self._env.close()

    def append(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Add (key, Datum bytes) records, in one transaction, behind all that came before."""
        try:
            with self._env.begin(write=True) as transaction:
                for key, value in records:
                    if not transaction.put(key, value, append=True):
                        raise ValueError(f"key {key!r} is not behind the last one")
        except (OSError, lmdb.Error) as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> FerError:
        if isinstance(error, lmdb.MapFullError):
            return FerError(f"{self.path}: the database is larger than it was planned to be (LMDB's map is full)")
        if isinstance(error, OSError):
            return cannot_write(self.path, error)
        return FerError(f"{self.path}: the disk is full or cannot be written (LMDB: {error}). Make room and run again")
