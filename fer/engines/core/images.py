"""Images and labels of a database or a list of files, read and decoded into arrays, as the data layers take them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np
from google.protobuf.message import DecodeError

from fer.errors import FerError
from fer.formats.database import Database
from fer.formats.image_header import MAX_PIXELS, image_size
from fer.schema import caffe_pb2

Room = Callable[[tuple[int, ...], int], None]
"""Raises FerError unless an array of this shape, each item of so many bytes, fits into memory."""
Read = tuple[np.ndarray, np.ndarray]
"""Pixels [N, H, W, C], uint8 (float32 for Datums of floats), and labels float32 [N]."""


# ---- LMDB

_FLAGS = {"color": cv2.IMREAD_COLOR, "gray": cv2.IMREAD_GRAYSCALE, "": cv2.IMREAD_UNCHANGED}


class _Records(Database):
    """The raw records of a database."""

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(key, Datum bytes) in key order."""
        try:
            with self._env.begin() as transaction:
                for key, data in transaction.cursor():
                    yield key.decode("utf-8", "backslashreplace"), data
        except lmdb.Error as error:
            raise FerError(f"{self.path}: damaged: {error}. `fer prepare SOURCE --force` makes it again") from None


def read_database(path: Path, force: str, room: Room) -> Read:
    """All Datums of an LMDB in key order. `force`: "color", "gray" or "" (as stored), for encoded Datums only.

    Raises FerError for a database that is missing, cut off, empty or larger than the memory, and for a faulty Datum.
    """
    flag = _FLAGS[force]
    with closing(_Records(path)) as database:
        count, row = len(database), 0
        labels = np.zeros(count, np.float32)
        pixels = np.empty(0)
        for row, (key, data) in enumerate(database.records(), 1):
            try:
                image, labels[row - 1] = _decode_datum(data, flag)
                if row == 1:
                    pixels = _allocate(count, image, room)
                _put(pixels, row - 1, image)
            except FerError as error:
                raise FerError(f"{path}: {key}: {error}") from None
    if row != count:
        raise FerError(f"{path}: damaged: {row:,} of {count:,} records can be read")
    return pixels, labels


def first_of_database(path: Path, force: str) -> np.ndarray:
    """The first image of an LMDB as `read_database` has it, [H, W, C]. Raises FerError as that does."""
    flag = _FLAGS[force]
    with closing(_Records(path)) as database:
        for key, data in database.records():
            try:
                return _decode_datum(data, flag)[0]
            except FerError as error:
                raise FerError(f"{path}: {key}: {error}") from None
    raise FerError(f"{path}: damaged: no record can be read")


def _decode_datum(data: bytes, flag: int) -> tuple[np.ndarray, int]:
    """A Datum's image [H, W, C], uint8 or float32, and its label (0 where it has none, as in Caffe)."""
    try:
        datum = caffe_pb2.Datum.FromString(data)
    except DecodeError:
        raise FerError("not a Datum: the bytes are cut off or of another kind") from None
    if datum.encoded:
        return decode_image(datum.data, flag), datum.label
    shape = (datum.channels, datum.height, datum.width)
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
        raise FerError(f"the Datum says {' x '.join(map(str, shape))} and holds {values.size:,} values")
    return values.reshape(shape).transpose(1, 2, 0), datum.label


def decode_image(file: bytes, flag: int) -> np.ndarray:
    """An image file's bytes as uint8 [H, W, C] (colour as blue, green, red); FerError when unreadable or huge."""
    size = image_size(file)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise FerError(f"an image of {size[1]:,} x {size[0]:,}; more than {MAX_PIXELS:,} pixels are not read")
    try:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), flag) if file else None
    except cv2.error:
        image = None
    if image is None or image.dtype != np.uint8:
        raise FerError("the image cannot be decoded (not an image of bytes, cut off, or damaged)")
    return image[:, :, np.newaxis] if image.ndim == 2 else image


# ---- lists of image files


@dataclass(frozen=True)
class ListOptions:
    """How the files of a list are read: `size` (height, width) to resize to, or None; as colour or gray."""

    root: str
    size: tuple[int, int] | None
    color: bool


def read_image_list(path: Path, options: ListOptions, room: Room) -> Read:
    """The images that a list names, in its order. Each line: a file, a space, a label (an integer).

    Raises FerError, with the list's line, for a line, file or size that is wrong.
    """
    lines = _parse_list(path)
    labels = np.array([label for _, _, label in lines], np.float32)

    def read(index: int) -> np.ndarray:
        number, name, _ = lines[index]
        try:
            return _read_image(options.root + name, options)
        except FerError as error:
            raise FerError(f"{path}:{number}: {options.root + name}: {error}") from None

    first = read(0)
    pixels = _allocate(len(lines), first, room)

    def fill(index: int) -> None:
        number, name, _ = lines[index]
        try:
            _put(pixels, index, read(index))
        except _ShapeDiffersError as error:
            cure = "set new_height and new_width in image_data_param"
            raise FerError(f"{path}:{number}: {options.root + name}: {error}\n{cure}") from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(lines))):
            pass
    return pixels, labels


def list_names(path: Path) -> list[str]:
    """The file names of a list, in its order. Raises FerError as `read_image_list` does."""
    return [name for _, name, _ in _parse_list(path)]


def first_image(path: Path, options: ListOptions) -> np.ndarray:
    """The first image of a list as `read_image_list` has it, [H, W, C]. Raises FerError as that does."""
    number, name, _ = _parse_list(path)[0]
    try:
        return _read_image(options.root + name, options)
    except FerError as error:
        raise FerError(f"{path}:{number}: {options.root + name}: {error}") from None


def _parse_list(path: Path) -> list[tuple[int, str, int]]:
    """(line number, file name, label) of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise FerError(f"{path}: cannot read the list of images: {error.strerror}") from None
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, _, label = line.rstrip().rpartition(" ")
        if not name or not label.removeprefix("-").isdecimal():
            raise FerError(f"{path}:{number}: expected `FILE LABEL`, found {line.strip()!r}")
        lines.append((number, name, int(label)))
    if not lines:
        raise FerError(f"{path}: the list of images is empty")
    return lines


def _read_image(path: str, options: ListOptions) -> np.ndarray:
    try:
        file = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"cannot be read: {error.strerror}") from None
    image = decode_image(file, cv2.IMREAD_COLOR if options.color else cv2.IMREAD_GRAYSCALE)
    if options.size is None:
        return image
    height, width = options.size
    return cv2.resize(image, (width, height)).reshape(height, width, -1)


# ---- the array


class _ShapeDiffersError(FerError):
    """An image has another shape or kind than the first."""


def _allocate(count: int, image: np.ndarray, room: Room) -> np.ndarray:
    """Room for `count` images like `image`; FerError when the memory cannot hold them."""
    room((count, *image.shape), image.itemsize)
    return np.empty((count, *image.shape), image.dtype)


def _put(pixels: np.ndarray, row: int, image: np.ndarray) -> None:
    if image.shape != pixels.shape[1:]:
        height, width, channels = image.shape
        first = " x ".join(map(str, (pixels.shape[3], *pixels.shape[1:3])))
        raise _ShapeDiffersError(f"{channels} x {height} x {width}, where the first is {first}")
    if image.dtype != pixels.dtype:
        raise _ShapeDiffersError(f"holds {image.dtype} values, where the first holds {pixels.dtype}")
    pixels[row] = image
