"""Image files to gray pixels, and gray pixels to faces of the size that nets are trained on: the one place for both."""

import re

import cv2
import numpy as np

from fer.data.dataset import SIDE
from fer.formats.image_header import MAX_PIXELS, image_size, is_whole

_IMAGE_NAME = re.compile(r"\.(jpe?g|png|bmp)$", re.IGNORECASE)


def is_image_name(name: str) -> bool:
    """Whether a file name ends as those of the images that are read: .jpg, .jpeg, .png, .bmp."""
    return _IMAGE_NAME.search(name) is not None


def decode_image(file: bytes, *, colour: bool = False) -> np.ndarray:
    """A JPEG, PNG or BMP file as uint8 gray [H, W], or BGR [H, W, 3]; upright, as a photo's EXIF orientation says.

    Raises ValueError when it is unreadable, cut off or huge.
    """
    size = image_size(file)
    if size is None:
        raise ValueError("an unreadable image: not a JPEG, PNG or BMP file" if file else "an empty file")
    height, width = size
    if height * width > MAX_PIXELS:
        raise ValueError(f"{width:,} x {height:,} pixels; more than {MAX_PIXELS // 1_000_000} million are not read")
    if not is_whole(file):  # OpenCV fills what is missing of a cut-off file with gray
        raise ValueError("an unreadable image: the file is cut off")
    try:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise ValueError(f"an unreadable image: {error.err}") from None
    if image is None or not image.size:
        raise ValueError("an unreadable image: its contents are damaged")
    return image


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
