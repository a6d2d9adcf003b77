"""Where the faces are in a picture. A detector is anything that is called with a Picture and gives its boxes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import cv2.data
import numpy as np

from fer.errors import FerError

CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
LONGEST = 1280
"""Faces are looked for in a picture of no more pixels a side; one of a large photo is shrunk first."""
SMALLEST = 30
"""The least side of a face there, in pixels: FER2013's have 48."""


@dataclass(frozen=True)
class Picture:
    """A photo or a video's frame: `gray` uint8 [H, W], `colour` BGR uint8 [H, W, 3] where it was asked for.

    `frame` counts a video's from 0 (None for a photo), `rate` is how many a second it has.
    """

    gray: np.ndarray
    colour: np.ndarray | None = None
    frame: int | None = None
    rate: float = 0.0


@dataclass(frozen=True)
class Box:
    """A face's place in pixels, within its picture; at least one pixel."""

    x: int
    y: int
    width: int
    height: int


Detector = Callable[[Picture], list[Box]]


def whole(picture: Picture) -> list[Box]:
    """The detector of `--no-detect`: the picture is one face."""
    height, width = picture.gray.shape
    return [Box(0, 0, width, height)]


class Cascade:
    """OpenCV's own detector of upright, frontal faces. Its boxes are what nets are trained on: in FER2013's own images,
    put into larger ones, they lie in the middle and have 0.98 of the image's side (the median of 234)."""

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(str(CASCADE))

    def __call__(self, picture: Picture) -> list[Box]:
        small, scale = _shrunk(picture.gray)
        if min(small.shape) < SMALLEST:
            return []
        found = self._cascade.detectMultiScale(small, scaleFactor=1.1, minNeighbors=5, minSize=(SMALLEST, SMALLEST))
        return _boxes([tuple(row) for row in found], scale, picture)


class YuNet:
    """A user's own YuNet file (ONNX): faces turned away or in part, from colour. Raises FerError for another file."""

    def __init__(self, file: Path):
        if not file.is_file():
            raise FerError(f"--detector {file}: no such file")
        try:
            self._net = cv2.FaceDetectorYN.create(str(file), "", (320, 320))
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise FerError(f"--detector {file}: not a YuNet file that OpenCV can run: {error.err}") from None

    def __call__(self, picture: Picture) -> list[Box]:
        if picture.colour is None:
            raise ValueError("YuNet looks at colour")
        small, scale = _shrunk(picture.colour)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        found = self._net.detect(small)[1]
        return _boxes([_square(*row[:4]) for row in found] if found is not None else [], scale, picture)


def _square(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """The square around a box: what a net was trained on."""
    side = max(width, height)
    return x - (side - width) / 2, y - (side - height) / 2, side, side


def _shrunk(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image with at most LONGEST pixels a side, and what its coordinates are to be multiplied with."""
    height, width = image.shape[:2]
    scale = max(height, width) / LONGEST
    if scale <= 1:
        return image, 1.0
    size = max(1, round(width / scale)), max(1, round(height / scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _boxes(found: list[tuple[float, ...]], scale: float, picture: Picture) -> list[Box]:
    """In the picture's own pixels and cut at its edges, from left to right."""
    height, width = picture.gray.shape
    boxes = []
    for x, y, w, h in found:
        left, right = (min(max(round(edge * scale), 0), width) for edge in (x, x + w))
        top, bottom = (min(max(round(edge * scale), 0), height) for edge in (y, y + h))
        if right > left and bottom > top:
            boxes.append(Box(left, top, right - left, bottom - top))
    return sorted(boxes, key=lambda box: (box.x, box.y))
