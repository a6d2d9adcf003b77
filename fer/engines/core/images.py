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
from fer.formats.image_list import ListedImage, read_list
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
    images = read_list(path)
    labels = np.array([image.label for image in images], np.float32)
    pixels = _allocate(len(images), first := _of_line(path, images[0], options), room)

    def fill(index: int) -> None:
        image = _of_line(path, images[index], options)
        _check_alike(path, images[index], options, image, first)
        pixels[index] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(images))):
            pass
    return pixels, labels


def list_names(path: Path) -> list[str]:
    """The file names of a list, in its order. Raises FerError as `read_image_list` does."""
    return [image.name for image in read_list(path)]


def first_image(path: Path, options: ListOptions) -> np.ndarray:
    """The first image of a list as `read_image_list` has it, [H, W, C]. Raises FerError as that does."""
    return _of_line(path, read_list(path)[0], options)


def check_image_list(path: Path, options: ListOptions, *, one_size: bool) -> None:
    """Read each image of a list, and with `one_size` compare its shape with the first one's. Raises FerError."""
    images = read_list(path)
    first = _of_line(path, images[0], options)

    def look(image: ListedImage) -> None:
        found = _of_line(path, image, options)
        if one_size:
            _check_alike(path, image, options, found, first)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(look, images):
            pass


def _check_alike(path: Path, image: ListedImage, options: ListOptions, found: np.ndarray, first: np.ndarray) -> None:
    if (reason := _difference(found, first)) is not None:
        cure = "set new_height and new_width in image_data_param"
        raise FerError(f"{path}:{image.line}: {options.root + image.name}: {reason}\n{cure}")


def _of_line(path: Path, image: ListedImage, options: ListOptions) -> np.ndarray:
    """The image of a list's line [H, W, C]."""
    try:
        return _read_image(options.root + image.name, options)
    except FerError as error:
        raise FerError(f"{path}:{image.line}: {options.root + image.name}: {error}") from None


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


def _allocate(count: int, image: np.ndarray, room: Room) -> np.ndarray:
    """Room for `count` images like `image`; FerError when the memory cannot hold them."""
    room((count, *image.shape), image.itemsize)
    return np.empty((count, *image.shape), image.dtype)


def _put(pixels: np.ndarray, row: int, image: np.ndarray) -> None:
    if (reason := _difference(image, pixels[0])) is not None:
        raise FerError(reason)
    pixels[row] = image


def _difference(image: np.ndarray, first: np.ndarray) -> str | None:
    """What sets an image apart from the first, in shape or kind."""
    if image.shape != first.shape:
        height, width, channels = image.shape
        of_first = " x ".join(map(str, (first.shape[2], *first.shape[:2])))
        return f"{channels} x {height} x {width}, where the first is {of_first}"
    if image.dtype != first.dtype:
        return f"holds {image.dtype} values, where the first holds {first.dtype}"
    return None
