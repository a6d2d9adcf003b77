"""Draw a small data set in FER2013's format: faces of lines and ellipses with seven expressions.

    python scripts/make_sample.py sample.csv [--train 270] [--test 50] [--seed 0]

For trying the pipeline without a download. It is NOT FER2013: numbers made from it say nothing about real faces.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48
SCALE = 4  # Drawn this much larger and shrunk, which smooths the lines.


@dataclass(frozen=True)
class Expression:
    """How the parts of a face are moved, in units of the head's half width.

    brow_slant: the inner end's drop (negative: rise); brow_lift: up; eye: half height of the opening;
    smile: how far the corners lie above the middle; mouth_open: half height; mouth_width: half width;
    wrinkle: strength of the lines beside the nose.
    """

    brow_slant: float
    brow_lift: float
    eye: float
    smile: float
    mouth_open: float
    mouth_width: float
    wrinkle: float


EXPRESSIONS = {
    "Angry": Expression(0.13, -0.06, 0.10, -0.08, 0.02, 0.30, 0.2),
    "Disgust": Expression(0.08, -0.05, 0.07, -0.10, 0.09, 0.28, 1.0),
    "Fear": Expression(-0.11, 0.10, 0.17, -0.06, 0.12, 0.30, 0.0),
    "Happy": Expression(0.00, 0.03, 0.09, 0.17, 0.07, 0.40, 0.3),
    "Sad": Expression(-0.13, 0.00, 0.09, -0.13, 0.01, 0.27, 0.0),
    "Surprise": Expression(0.00, 0.15, 0.18, 0.00, 0.20, 0.19, 0.0),
    "Neutral": Expression(0.00, 0.00, 0.11, 0.00, 0.01, 0.32, 0.0),
}


def draw_face(name: str, rng: np.random.Generator) -> np.ndarray:
    """One face with the expression `name`, uint8 [48, 48]: position, size, turn, light and features vary."""
    expression = EXPRESSIONS[name]
    # Weak expressions exist: a face shows between a third and more than all of it.
    strength = rng.uniform(0.35, 1.15)
    neutral = EXPRESSIONS["Neutral"]
    part = {
        key: getattr(neutral, key) * (1 - strength) + getattr(expression, key) * strength + rng.normal(0, spread)
        for key, spread in (
            ("brow_slant", 0.030), ("brow_lift", 0.030), ("eye", 0.015), ("smile", 0.025),
            ("mouth_open", 0.015), ("mouth_width", 0.030), ("wrinkle", 0.150),
        )
    }  # fmt: skip
    skin, ground = rng.uniform(110, 215), rng.uniform(15, 235)
    dark = skin * rng.uniform(0.15, 0.45)
    canvas = np.full((SIDE * SCALE, SIDE * SCALE), ground, np.uint8)
    _draw_head(canvas, skin, dark, rng)
    _draw_eyes(canvas, part, skin, dark, rng)
    _draw_mouth(canvas, part, skin, dark)
    return _photograph(canvas, ground, rng)


def _at(x: float, y: float) -> tuple[int, int]:
    """A point in units of the head's half width, from the middle of the face, on the canvas."""
    unit = 0.42 * SIDE * SCALE
    return round(SIDE * SCALE / 2 + x * unit), round(SIDE * SCALE / 2 + y * unit)


def _curve(canvas: np.ndarray, points: list[tuple[float, float]], color: float, width: float) -> None:
    line = np.array([_at(x, y) for x, y in points], np.int32)
    cv2.polylines(canvas, [line], False, int(color), max(1, round(width * SCALE)), cv2.LINE_AA)


def _oval(canvas: np.ndarray, x: float, y: float, half_width: float, half_height: float, color: float) -> None:
    unit = 0.42 * SIDE * SCALE
    axes = max(1, round(half_width * unit)), max(1, round(half_height * unit))
    cv2.ellipse(canvas, _at(x, y), axes, 0, 0, 360, int(color), -1, cv2.LINE_AA)


def _draw_head(canvas: np.ndarray, skin: float, dark: float, rng: np.random.Generator) -> None:
    hair = rng.uniform(20, 120)
    _oval(canvas, 0, -0.1, 1.0, 1.12, hair)
    _oval(canvas, 0, 0.06, rng.uniform(0.82, 0.92), rng.uniform(0.98, 1.08), skin)
    nose = rng.uniform(0.08, 0.13)
    _curve(canvas, [(0.02, -0.1), (nose, 0.22), (-nose * 0.6, 0.24)], (skin + dark) / 2, 0.8)


def _draw_eyes(canvas: np.ndarray, part: dict[str, float], skin: float, dark: float, rng: np.random.Generator) -> None:
    apart, gaze = rng.uniform(0.36, 0.42), rng.uniform(-0.05, 0.05)
    brow_width = rng.uniform(1.1, 2.0)
    for side in (-1, 1):
        eye = max(0.03, part["eye"])
        _oval(canvas, side * apart, -0.18, 0.19, eye, min(255, skin + 35))
        _oval(canvas, side * apart + gaze, -0.18, 0.085, min(0.095, eye), dark * 0.6)
        _curve(
            canvas, [(side * apart - 0.19, -0.18), (side * apart, -0.18 - eye), (side * apart + 0.19, -0.18)], dark, 0.7
        )
        height = -0.42 - part["brow_lift"]
        inner, outer = height + part["brow_slant"], height - part["brow_slant"] * 0.5
        _curve(canvas, [(side * (apart - 0.22), inner), (side * apart, height - 0.05), (side * (apart + 0.2), outer)],
               dark, brow_width)  # fmt: skip
        crease = dark + (skin - dark) * (1 - min(1.0, max(0.0, part["wrinkle"])) * 0.8)
        _curve(canvas, [(side * 0.14, 0.12), (side * 0.3, 0.36)], crease, 0.9)


def _draw_mouth(canvas: np.ndarray, part: dict[str, float], skin: float, dark: float) -> None:
    width, smile, opening = part["mouth_width"], part["smile"], max(0.0, part["mouth_open"])
    x = np.linspace(-1, 1, 13)
    middle = 0.58 + smile * (0.5 - x**2)
    arch = opening * np.sqrt(1 - x**2)
    upper = list(zip(x * width, middle - arch, strict=True))
    lower = list(zip(x * width, middle + arch, strict=True))
    if opening > 0.04:
        outline = np.array([_at(a, b) for a, b in upper + lower[::-1]], np.int32)
        cv2.fillPoly(canvas, [outline], int(dark * 0.5), cv2.LINE_AA)
    _curve(canvas, upper, dark, 1.0)
    _curve(canvas, lower, dark, 1.0)


def _photograph(canvas: np.ndarray, ground: float, rng: np.random.Generator) -> np.ndarray:
    """Turn, move, scale, light, blur and add noise; then shrink to 48 x 48."""
    middle = SIDE * SCALE / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, 7), rng.uniform(0.82, 1.08))
    turn = np.asarray(matrix, np.float64)
    turn[:, 2] += rng.normal(0, 1.6 * SCALE, 2)
    turn[0, 1] += rng.normal(0, 0.05)
    moved = cv2.warpAffine(canvas, turn, canvas.shape[::-1], borderValue=ground)
    small: np.ndarray = cv2.resize(moved, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    ramp = np.linspace(-0.5, 0.5, SIDE, dtype=np.float32)
    small *= 1 + rng.normal(0, 0.25) * ramp[None, :] + rng.normal(0, 0.25) * ramp[:, None]
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.3, 0.9))
    small = (small - 128) * rng.uniform(0.6, 1.1) + 128 + rng.normal(0, 18) + rng.normal(0, 9, small.shape)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def write_sample(path: Path, train: int, test: int, seed: int) -> int:
    """Write the CSV whole or not at all: `train` images a class for Training, `test` for each test split; the count."""
    rng = np.random.default_rng(seed)
    partial = path.with_name(path.name + f".partial-{os.getpid()}")
    count = 0
    try:
        with partial.open("w", encoding="ascii") as stream:
            stream.write("emotion,pixels,Usage\n")
            for usage, per_class in zip(USAGES, (train, test, test), strict=True):
                for label in rng.permutation(np.repeat(np.arange(len(CLASSES)), per_class)):
                    pixels = draw_face(CLASSES[label], rng)
                    stream.write(f"{label},{' '.join(map(str, pixels.ravel().tolist()))},{usage}\n")
                    count += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the CSV to write")
    parser.add_argument("--train", "--per-class", type=int, default=270, help="Training images a class (%(default)s)")
    parser.add_argument("--test", type=int, default=50, help="images a class in each test split (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.train < 1 or options.test < 1 or options.seed < 0:
        parser.error("--train and --test must be at least 1, --seed at least 0")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    count = write_sample(options.out, options.train, options.test, options.seed)
    print(f"{options.out}: {count:,} drawn faces (not FER2013)")


if __name__ == "__main__":
    main()
