"""Copies of faces, each turned, scaled and shifted a little by chance."""

import cv2
import numpy as np

from fer.data.dataset import SIDE
from fer.data.options import Affine


def draw_moves(ranges: Affine, count: int, generator: np.random.Generator) -> np.ndarray:
    """Moves drawn evenly from the ranges: float64 [count, 2, 3], from a copy's pixel (x, y, 1) to the image's."""
    turn, right, down, zoom = generator.uniform(-1, 1, (count, 4)).T
    angle, shrink = np.radians(ranges.rotation) * turn, (1 + ranges.scale) ** -zoom
    cos, sin = np.cos(angle) * shrink, np.sin(angle) * shrink
    middle = (SIDE - 1) / 2
    x, y = middle + ranges.shift * SIDE * right, middle + ranges.shift * SIDE * down
    return np.stack([cos, -sin, middle - cos * x + sin * y, sin, cos, middle - sin * x - cos * y], axis=-1).reshape(
        count, 2, 3
    )


def moved(image: np.ndarray, move: np.ndarray) -> np.ndarray:
    """uint8 [48, 48] moved by one of `draw_moves`'s, bilinear; beyond its border an image goes on as its border."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, move, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE))
