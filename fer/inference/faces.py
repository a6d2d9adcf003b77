"""Pictures, and where faces are in them. A detector is anything that is called with a Picture and gives its faces."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer.errors import FerError

OVERLAP = 0.4
"""Of two places with a greater intersection over union only the surer one is a face."""


FRAME = 0.92
"""A net's square has this share of a box's height: then it is the cascade's, by which FER2013 was gathered (the median
of 82 photos for the SSD and of 83 for YuNet; the middles are the same)."""


@dataclass(frozen=True)
class Picture:
    """A photo or a video's frame: `gray` uint8 [H, W], `colour` BGR uint8 [H, W, 3] where it was asked for.

    `frame` counts a video's from 0 (None for a photo), `seconds` are those since its first, `rate` is how many a second
    it has, `frames` how many there are, as far as its header tells (0: unknown).
    """

    gray: np.ndarray
    colour: np.ndarray | None = None
    frame: int | None = None
    rate: float = 0.0
    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Box:
    """A face's place in pixels, within its picture; at least one pixel."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """The square that a net looks at, in pixels: its middle, its side, and by how many degrees it is turned clockwise.

    It may reach over the picture's edges.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a detector sees a face; `score` from 0 to 1 where it gives one. Without a `frame` the net gets the box."""

    box: Box
    score: float | None = None
    frame: Frame | None = None


Detector = Callable[[Picture], list[Place]]


def whole(picture: Picture) -> list[Place]:
    """The detector of `--no-detect`: the picture is one face."""
    height, width = picture.gray.shape
    return [Place(Box(0, 0, width, height))]


def face_pixels(picture: Picture, place: Place) -> np.ndarray:
    """The gray pixels of a face, uint8 [H, W]: its box, or its frame turned upright, the edge repeated beyond it."""
    box, frame = place.box, place.frame
    if frame is None:
        return picture.gray[box.y : box.y + box.height, box.x : box.x + box.width]
    side = max(1, round(frame.side))
    turn = cv2.getRotationMatrix2D((frame.x, frame.y), frame.angle, side / frame.side)
    turn = turn + np.array([[0, 0, (side - 1) / 2 - frame.x], [0, 0, (side - 1) / 2 - frame.y]])
    return cv2.warpAffine(picture.gray, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def box_within(edges: Sequence[float], picture: Picture) -> Box | None:
    """The box between left, top, right and bottom, cut at the picture's edges; None where nothing of it is left."""
    height, width = picture.gray.shape
    left, right = (min(max(round(edge), 0), width) for edge in edges[0::2])
    top, bottom = (min(max(round(edge), 0), height) for edge in edges[1::2])
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None


def overlap(one: Box, other: Box) -> float:
    """The intersection over union of two boxes."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(width, 0) * max(height, 0)
    return both / (one.width * one.height + other.width * other.height - both)


def apart(places: Sequence[Place]) -> list[Place]:
    """The places left after non-maximum suppression (see OVERLAP), from left to right."""
    boxes = [(place.box.x, place.box.y, place.box.width, place.box.height) for place in places]
    scores = [1.0 + (place.score or 0.0) for place in places]  # OpenCV leaves out those of 0
    kept = [places[int(index)] for index in cv2.dnn.NMSBoxes(boxes, scores, 0.0, OVERLAP)]
    return sorted(kept, key=lambda place: (place.box.x, place.box.y))


def check_there(file: Path) -> None:
    """Raise FerError unless it is a file."""
    if not file.is_file():
        raise FerError(f"--detector {file}: {'not a file' if file.exists() else 'no such file'}")


def colour_of(picture: Picture) -> np.ndarray:
    """BGR uint8 [H, W, 3]."""
    if picture.colour is None:
        raise ValueError("this detector looks at colour")
    return picture.colour


def place_of(edges: Iterable[float], score: float, picture: Picture, angle: float = 0.0) -> Place | None:
    """The place between left, top, right and bottom, with the square around it; None outside the picture."""
    left, top, right, bottom = edges
    box = box_within((left, top, right, bottom), picture)
    frame = Frame(float(left + right) / 2, float(top + bottom) / 2, FRAME * float(bottom - top), angle)
    return Place(box, score, frame) if box else None
