"""What the Python layer `Augment` does to a batch of training images: the grammar of its param_str, and the arithmetic.

    rotation: 15, shift: 0.1, scale: 0.1, brightness: 0.2, contrast: 0.2, erase: 0.5, seed: 1

Every engine has it: augment.py runs this file inside Caffe, the others have the same arithmetic in their own terms.
Imports numpy only, and runs under any Python that a user's pycaffe may need.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np


class Ranges(NamedTuple):
    """How far images are changed; what is 0 is left alone.

    rotation    degrees to either side, 0..180
    shift       share of the width and of the height, to either side, 0..1
    scale       up to 1 + scale times as large, or as small, 0..1
    brightness  share of the image's own standard deviation, to either side, 0..1
    contrast    1 +- contrast times the distance from the image's own mean, 0..1
    erase       probability of a rectangle of 2..20% of the area filled with noise of the image's mean and deviation
    seed        tells apart the draws of layers that are otherwise alike
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase: float = 0.0
    seed: int = 0


RUN_SEED = "FER_RUN_SEED"
"""The environment variable with the solver's random_seed, which a layer cannot see, for a `caffe` that fer starts."""
LIMITS = {"rotation": 180, "shift": 1, "scale": 1, "brightness": 1, "contrast": 1, "erase": 1, "seed": 2**31 - 1}
DRAWS = 11
"""Uniform numbers in [0, 1) that an image takes: rotation, shift (x, y), scale, brightness, contrast, whether to erase,
the rectangle's area, shape, column and row."""
ERASED = (0.02, 0.2)
ELONGATION = 3
"""The erased rectangle's height is 1/3 to 3 times its width."""


def parse(param_str: str) -> Ranges:
    """The Ranges of a param_str. Raises ValueError that names the keys or the limits."""
    found: Dict[str, Any] = {}
    for item in param_str.split(","):
        key, _, text = (part.strip() for part in item.partition(":"))
        if key not in LIMITS:
            raise ValueError("param_str: %r is no key; write `key: number, ...` with %s" % (key, ", ".join(LIMITS)))
        if key in found:
            raise ValueError("param_str: %s is given twice" % key)
        try:
            found[key] = int(text) if key == "seed" else float(text)
        except ValueError:
            raise ValueError("param_str: %s: %r is no number" % (key, text)) from None
        if not 0 <= found[key] <= LIMITS[key]:
            raise ValueError("param_str: %s: %s is not in 0..%d" % (key, text, LIMITS[key]))
    return Ranges(**found)


def draw(
    generator: np.random.RandomState, shape: Tuple[int, ...], ranges: Ranges
) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """What the images of `shape` [B, C, H, W] are changed by, from a numpy RandomState.

    float32 uniform [B, DRAWS], and standard normal noise [B, C, H, W] (None where nothing is erased).
    """
    uniform = generator.random_sample((shape[0], DRAWS)).astype(np.float32)
    noise = generator.standard_normal(shape).astype(np.float32) if ranges.erase else None
    return uniform, noise


def apply(images: np.ndarray, ranges: Ranges, uniform: np.ndarray, noise: Optional[np.ndarray]) -> np.ndarray:
    """The images [B, C, H, W] changed by what was drawn: warped, then brightened, then erased in part; float32."""
    images = np.asarray(images, np.float32)
    signed = 2 * uniform - 1
    if ranges.rotation or ranges.shift or ranges.scale:
        images = _warp(images, ranges, signed)
    mean = images.mean((1, 2, 3), keepdims=True)
    deviation = images.std((1, 2, 3), keepdims=True)
    result = images
    if ranges.brightness or ranges.contrast:
        factor = 1 + ranges.contrast * signed[:, 5].reshape(-1, 1, 1, 1)
        light = ranges.brightness * signed[:, 4].reshape(-1, 1, 1, 1) * deviation
        result = images * factor + (mean * (1 - factor) + light)
    if ranges.erase:
        result = np.where(_rectangles(images.shape, ranges, uniform), mean + deviation * noise, result)
    return result


def _warp(images: np.ndarray, ranges: Ranges, signed: np.ndarray) -> np.ndarray:
    """Turned and scaled about the centre, then shifted; bilinear, the border's pixels going on outside."""
    count, _, height, width = images.shape
    angle = np.radians(ranges.rotation) * signed[:, 0]
    size = (1 + ranges.scale) ** signed[:, 3]
    cosine, sine = np.cos(angle) / size, np.sin(angle) / size
    right, down = ranges.shift * width * signed[:, 1], ranges.shift * height * signed[:, 2]
    x = (np.arange(width) - (width - 1) / 2.0)[None, None, :] - right[:, None, None]
    y = (np.arange(height) - (height - 1) / 2.0)[None, :, None] - down[:, None, None]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    left, column = _split(cosine * x + sine * y, width)
    above, row = _split(cosine * y - sine * x, height)
    below, right = np.minimum(above + 1, height - 1), np.minimum(left + 1, width - 1)
    pixels, which = images.transpose(0, 2, 3, 1), np.arange(count)[:, None, None]
    top = pixels[which, above, left] * (1 - column) + pixels[which, above, right] * column
    bottom = pixels[which, below, left] * (1 - column) + pixels[which, below, right] * column
    return np.ascontiguousarray((top * (1 - row) + bottom * row).transpose(0, 3, 1, 2))


def _split(offset: np.ndarray, side: int) -> Tuple[np.ndarray, np.ndarray]:
    """An offset from the centre [B, H, W] as the pixel before it, int, and the share of the next, [B, H, W, 1]."""
    place = np.clip(offset + (side - 1) / 2.0, 0, side - 1)
    pixel = place.astype(np.intp)
    return pixel, (place - pixel).astype(np.float32)[..., None]


def _rectangles(shape: Tuple[int, ...], ranges: Ranges, uniform: np.ndarray) -> np.ndarray:
    """Which pixels are erased, bool [B, 1, H, W]."""
    _, _, height, width = shape
    low, high = ERASED
    area = (low + (high - low) * uniform[:, 7]) * (height * width)
    ratio = float(ELONGATION) ** (2 * uniform[:, 8] - 1)
    tall = np.clip(np.floor(np.sqrt(area * ratio) + 0.5), 1, height) * (uniform[:, 6] < ranges.erase)
    wide = np.clip(np.floor(np.sqrt(area / ratio) + 0.5), 1, width)
    inside = []
    for side, length, place in ((height, tall, uniform[:, 10]), (width, wide, uniform[:, 9])):
        first = np.floor(place * (side - length + 1))[:, None]
        inside.append((np.arange(side) >= first) & (np.arange(side) < first + length[:, None]))
    erased: np.ndarray = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return erased
