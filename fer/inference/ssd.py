"""An SSD of faces, in Caffe's files."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fer.errors import FerError
from fer.formats.blobs import from_blob
from fer.formats.prototxt import read_weights
from fer.inference.faces import Picture, Place, apart, check_there, colour_of, place_of


class SSD:
    """An SSD of faces in Caffe's files, as OpenCV's own (res10, 300 x 300): faces turned or in part, from colour.

    A photo is looked at as a whole and in overlapping tiles; a video's frame in its halves, or as a whole while there
    is a large face. Raises FerError for files that are no SSD.
    """

    THRESHOLD = 0.5
    SIDE = 300
    MEAN = (104.0, 177.0, 123.0)  # blue, green, red
    MARGIN = 1 / 8
    """Around a whole picture: a face that fills the input is found a second time beside itself."""
    LARGE = 0.25
    """A face of more than this share of a frame's longer side may be cut by both halves."""

    def __init__(self, prototxt: Path, weights: Path, threshold: float = THRESHOLD):
        self._threshold, self._is_close = threshold, False
        for file in (prototxt, weights):
            check_there(file)
        try:
            self._net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
            shape = self._answer(np.zeros((self.SIDE, self.SIDE, 3), np.uint8)).shape
        except cv2.error as error:
            raise FerError(f"--detector {prototxt} with {weights}: OpenCV cannot run them: {error.err}") from None
        if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != 7:
            raise FerError(
                f"--detector {prototxt}: no SSD: its answer has the shape {' x '.join(map(str, shape))}, "
                "not 1 x 1 x N x 7 as that of a DetectionOutput layer"
            )

    def __call__(self, picture: Picture) -> list[Place]:
        finds = self._in_photo(picture) if picture.frame is None else self._in_frame(picture)
        places = (place_of(edges, float(score), picture) for score, *edges in np.concatenate(finds))
        return apart([place for place in places if place])

    def _in_photo(self, picture: Picture) -> list[np.ndarray]:
        finds = [self._look(picture, _around(picture, self.MARGIN))]
        height, width = picture.gray.shape
        for tile in _tiles(height, width, self.SIDE):
            found = self._look(picture, tile)
            small = _sides(found) < (tile[2] - tile[0]) / 2  # a larger one is found in the whole
            finds.append(found[small & ~_is_cut(found, tile, picture)])
        return finds

    def _in_frame(self, picture: Picture) -> list[np.ndarray]:
        """The halves, or the whole: the frame before decides, so that most frames take two looks at most."""
        if self._is_close and picture.frame != 0:
            finds = [self._look(picture, _around(picture, self.MARGIN))]
            self._is_close = self._has_large(finds, picture)
            return finds
        halves = _halves(*picture.gray.shape)
        looks = [self._look(picture, half) for half in halves]
        self._is_close = self._has_large(looks, picture)
        if self._is_close:
            return [self._look(picture, _around(picture, self.MARGIN))]
        return [found[~_is_cut(found, half, picture)] for found, half in zip(looks, halves, strict=True)]

    def _has_large(self, finds: list[np.ndarray], picture: Picture) -> bool:
        return any((_sides(found) > self.LARGE * max(picture.gray.shape)).any() for found in finds)

    def _look(self, picture: Picture, region: np.ndarray) -> np.ndarray:
        """What is found in a part of a picture (left, top, right, bottom): [N, 5], scores and edges in pixels."""
        left, top, right, bottom = region
        rows = self._answer(_cut_out(colour_of(picture), region, self.SIDE, self.MEAN))[0, 0]
        rows = rows[(rows[:, 1] == 1) & (rows[:, 2] >= self._threshold)]
        edges = rows[:, 3:] * np.tile([right - left, bottom - top], 2) + np.tile([left, top], 2)
        return np.column_stack([rows[:, 2], edges])

    def _answer(self, image: np.ndarray) -> np.ndarray:
        """Float32 [1, 1, N, 7]: of each find the image, class, score, and the edges as shares of the input."""
        self._net.setInput(cv2.dnn.blobFromImage(image, 1.0, (self.SIDE, self.SIDE), self.MEAN))
        answer: np.ndarray = self._net.forward()
        return answer


def check_weights(prototxt: Path, weights: Path) -> None:
    """Raise FerError where they are of two nets, or the weights damaged: OpenCV finds no face with such."""
    for file in (prototxt, weights):
        check_there(file)
    try:
        names = set(cv2.dnn.readNetFromCaffe(str(prototxt)).getLayerNames())
    except cv2.error as error:
        raise FerError(f"--detector {prototxt}: not a net that OpenCV reads: {error.err}") from None
    layers = [layer for layer in read_weights(weights).layer if layer.blobs]
    if not any(layer.name in names for layer in layers):
        raise FerError(
            f"--detector {prototxt} with {weights}: they are not of one net\n"
            f"The weights are of layers as {layers[0].name!r}, which the prototxt has not."
        )
    for layer in layers:
        if not all(np.isfinite(from_blob(blob, f"{weights}: {layer.name!r}")).all() for blob in layer.blobs):
            raise FerError(f"{weights}: {layer.name!r} holds nan or inf: the file is damaged")


def _sides(found: np.ndarray) -> np.ndarray:
    """The longer side of each find [N, 5]."""
    sides: np.ndarray = np.maximum(found[:, 3] - found[:, 1], found[:, 4] - found[:, 2])
    return sides


def _is_cut(found: np.ndarray, region: np.ndarray, picture: Picture) -> np.ndarray:
    """Which finds [N, 5] reach an edge of the region that is none of the picture's: the face goes on beyond it."""
    height, width = picture.gray.shape
    slack = 0.01 * (region[2] - region[0])
    goes_on = np.array([region[0] > 0, region[1] > 0, region[2] < width, region[3] < height])
    over = np.column_stack([found[:, 1:3] < region[:2] + slack, found[:, 3:] > region[2:] - slack])
    cut: np.ndarray = (over & goes_on).any(axis=1)
    return cut


def _cut_out(image: np.ndarray, region: np.ndarray, side: int, fill: tuple[float, ...]) -> np.ndarray:
    """A part of an image, squeezed into a square [side, side, 3]; `fill` where it reaches over the edges."""
    left, top, right, bottom = region
    height, width = image.shape[:2]
    within = np.clip(region, 0, [width, height, width, height]).round().astype(int)
    scale = side / np.array([right - left, bottom - top] * 2)
    x, y, end, foot = ((within - [left, top, left, top]) * scale).round().astype(int)
    square = np.full((side, side, 3), fill, np.uint8)
    if end > x and foot > y:
        part = image[within[1] : within[3], within[0] : within[2]]
        square[y:foot, x:end] = cv2.resize(part, (end - x, foot - y), interpolation=cv2.INTER_AREA)
    return square


def _around(picture: Picture, margin: float) -> np.ndarray:
    """The whole picture with a margin, as a share of its sides."""
    height, width = picture.gray.shape
    return np.array([-margin * width, -margin * height, (1 + margin) * width, (1 + margin) * height])


def _tiles(height: int, width: int, least: int) -> Iterator[np.ndarray]:
    """Squares that overlap by a third at least and have two thirds of the shorter side; none for a small picture."""
    side = max(least, min(height, width) / 1.5)
    if max(height, width) <= side:
        return
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield np.array([left, top, min(left + side, width), min(top + side, height)])


def _starts(length: int, side: float) -> np.ndarray:
    """Where parts of a length begin that overlap by a third at least."""
    rest = max(length - side, 0)
    return np.linspace(0, rest, 1 + int(np.ceil(rest / (side * 2 / 3))))


def _halves(height: int, width: int) -> list[np.ndarray]:
    """Two overlapping parts, each with 5/8 of the longer side; one of a picture that is almost square."""
    if max(height, width) < 1.3 * min(height, width):
        return [np.array([0.0, 0.0, width, height])]
    if width > height:
        return [np.array([0, 0, width * 5 / 8, height]), np.array([width * 3 / 8, 0, width, height])]
    return [np.array([0, 0, width, height * 5 / 8]), np.array([0, height * 3 / 8, width, height])]
