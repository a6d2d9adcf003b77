"""Image files to gray pixels, and gray pixels to faces of the size that nets are trained on: the one place for both."""

import contextlib
import os
import re
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from fer.data.dataset import SIDE
from fer.formats.image_header import MAX_PIXELS, greatest_value, image_size, is_whole, other_kind

ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".j2k",
    ".avif", ".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".sr", ".ras",
)  # fmt: skip
"""Those of the files that OpenCV reads, of bytes a pixel (.hdr, .exr and .pfm hold floats)."""
MAX_FILE = 64 << 20
"""A larger file of class folders is refused unread, in bytes."""
_DARK = 64
_DATA_MISSING = re.compile(rb"premature end|bad huffman|instead of RST", re.IGNORECASE)  # libjpeg's words


def is_image_name(name: str) -> bool:
    """Whether a file name ends as those of the images that are read: one of ENDINGS, in any case."""
    return name.lower().endswith(ENDINGS)


def check_file_size(size: int) -> None:
    """Raise ValueError for more than MAX_FILE bytes."""
    if size > MAX_FILE:
        raise ValueError(f"an image of {size:,} bytes; more than {MAX_FILE:,} are not read")


def decode_image(file: bytes, *, colour: bool = False) -> np.ndarray:
    """An image file as uint8 gray [H, W], or BGR [H, W, 3]; upright, as a photo's EXIF orientation says.

    Of an animation or several pages it is the first. Raises ValueError when the file is unreadable, cut off or huge,
    and for pixels that OpenCV does not bring to the range of bytes.
    """
    _check_header(file)
    flag = cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE
    try:
        with _errors_of_libraries() as said:
            image = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
    except cv2.error as error:
        raise ValueError(f"an unreadable image: {error.err}") from None
    if image is None or not image.size:
        deep = _as_stored(file)
        if deep is not None and deep.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"its pixels are {deep.dtype} numbers. Save it with 8 bits")
        raise ValueError("an unreadable image: its contents are damaged")
    if _DATA_MISSING.search(said[0]):  # OpenCV fills it with gray
        raise ValueError("an unreadable image: its contents are damaged, a part of it is missing")
    if image.max() < _DARK:
        _check_depth(file)
    return image


def _check_header(file: bytes) -> None:
    """Raise ValueError for a file that is no image, too large a one, or cut off."""
    size = image_size(file)
    if size is None:
        kind = other_kind(file) or "not an image that OpenCV reads (JPEG, PNG, WebP, TIFF, BMP, GIF, ...)"
        raise ValueError(f"an unreadable image: {kind}" if file else "an empty file")
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width:,} x {height:,} pixels; more than {MAX_PIXELS // 1_000_000} million are not read")
    if not is_whole(file):  # OpenCV fills what is missing of a cut-off file with gray
        raise ValueError("an unreadable image: the file is cut off")
    if (white := greatest_value(file)) not in (None, 255, 65535):
        raise ValueError(f"its values go from 0 to {white}, which OpenCV takes for dark ones. Save it with 8 bits")


def _as_stored(file: bytes) -> np.ndarray | None:
    """An image's gray values in the depth that the file has."""
    with contextlib.suppress(cv2.error), _errors_of_libraries():
        return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    return None


def _check_depth(file: bytes) -> None:
    """Raise ValueError where 16-bit pixels fill no more than 14 bits: cameras store 10 or 12 bits so."""
    deep = _as_stored(file)
    if deep is not None and deep.dtype == np.uint16 and deep.any():
        raise ValueError(
            f"16 bits a pixel and no value above {deep.max():,}: fewer bits, stored in 16, would be almost black. "
            "Save it with 8 bits"
        )


_STDERR = threading.Lock()  # there is one for all threads


@contextlib.contextmanager
def _errors_of_libraries() -> Iterator[list[bytes]]:
    """What is written to stderr within: libjpeg and its like have no other way to say that data is missing.

    It stands in the list afterwards, and not on the terminal.
    """
    said: list[bytes] = []
    with _STDERR, os.fdopen(os.memfd_create("stderr"), "rb") as capture:
        terminal = os.dup(2)
        os.dup2(capture.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            capture.seek(0)
            said.append(capture.read())


def face_of(gray: np.ndarray, height: int = SIDE, width: int | None = None) -> np.ndarray:
    """A gray image uint8 [H, W] as a face of FER2013's size, then as `fer prepare --resize` or an ImageData layer makes
    it: [height, width], a square where no width is given."""
    if gray.shape != (SIDE, SIDE):
        shrinking = gray.shape[0] >= SIDE and gray.shape[1] >= SIDE
        gray = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return resize_face(gray, height, width)


def resize_face(face: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """uint8 [48, 48] -> [height, width], as convert_imageset's -resize_width and -resize_height do."""
    width = height if width is None else width
    return face if face.shape == (height, width) else cv2.resize(face, (width, height))
