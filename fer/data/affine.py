"""Copies of faces, each turned, scaled and shifted a little by chance."""

from dataclasses import dataclass

import cv2
import numpy as np

from fer.data.dataset import SIDE
from fer.errors import UsageError


@dataclass(frozen=True)
class Affine:
    """How far a copy may be moved, to either side: `rotation` degrees, `shift` as a share of the image's side, and
    `scale` from 1 / (1 + scale) to 1 + scale times as large."""

    rotation: float = 15.0
    shift: float = 0.1
    scale: float = 0.1

    def check(self) -> None:
        """Raise UsageError for a range that cannot be."""
        for name, most in (("rotation", 180), ("shift", 1), ("scale", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"--{name} {getattr(self, name):g}: not from 0 to {most}")

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Moves drawn evenly from the ranges: float64 [count, 2, 3], from a copy's pixel (x, y, 1) to the image's."""
        turn, right, down, zoom = generator.uniform(-1, 1, (count, 4)).T
        angle, shrink = np.radians(self.rotation) * turn, (1 + self.scale) ** -zoom
        cos, sin = np.cos(angle) * shrink, np.sin(angle) * shrink
        middle = (SIDE - 1) / 2
        x, y = middle + self.shift * SIDE * right, middle + self.shift * SIDE * down
        return np.stack([cos, -sin, middle - cos * x + sin * y, sin, cos, middle - sin * x - cos * y], axis=-1).reshape(
            count, 2, 3
        )


def moved(image: np.ndarray, move: np.ndarray) -> np.ndarray:
    """uint8 [48, 48] moved by one of `draw`'s, bilinear; beyond its border an image goes on as its border."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, move, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE))
