"""Small sources in FER2013's forms for the tests of the data room."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer.data.dataset import SPLITS, Split
from fer.data.source import Reading, open_source
from fer.system.workers import Workers

CLASSES = 7
USAGES = ("Training", "PublicTest", "PrivateTest")
FOLDERS = ("angry", "Disgusted", "fearful", "HAPPY", "sadness", "surprise", "neutral")


@dataclass(frozen=True)
class Sample:
    """One face of a source: `index` counts from 0, `pixels` is uint8 [48, 48]."""

    index: int
    split: Split
    label: int
    pixels: np.ndarray


def read(path: Path, seed: int = 0) -> list[Sample]:
    """The faces of a source one by one."""
    with Workers(0) as workers, open_source(path, workers, Reading(seed)) as opened:
        batches = list(opened.batches)
    faces = [face for batch in batches for face in zip(batch.splits, batch.labels, batch.pixels, strict=True)]
    return [Sample(index, SPLITS[split], int(label), pixels) for index, (split, label, pixels) in enumerate(faces)]


def face(seed: int) -> np.ndarray:
    """A smooth picture that JPEG changes a little, uint8 [48, 48]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)
    return cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)


def rows(per_class: int = 2) -> list[tuple[int, np.ndarray, str]]:
    """(label, pixels, usage), the three usages interleaved, every class in each."""
    labels = [label for label in range(CLASSES) for _ in range(per_class)]
    return [(label, face(3 * k + part), usage) for k, label in enumerate(labels) for part, usage in enumerate(USAGES)]


def text(pixels: np.ndarray) -> str:
    return " ".join(map(str, pixels.ravel().tolist()))


def csv_text(data: list[tuple[int, np.ndarray, str]] | None = None) -> str:
    lines = [f"{label},{text(pixels)},{usage}" for label, pixels, usage in (rows() if data is None else data)]
    return "\n".join(["emotion,pixels,Usage", *lines]) + "\n"


def write_csv(path: Path, data: list[tuple[int, np.ndarray, str]] | None = None) -> Path:
    path.write_text(csv_text(data), encoding="ascii")
    return path


def write_folders(
    root: Path, *, test_names: tuple[str, ...] = ("im1.jpg", "im2.jpg"), validation: bool = False
) -> Path:
    """Class folders with two images a class and split, in colour and 60 x 50 pixels."""
    seed = 0
    parts = {"train": ("a.jpg", "b.jpg"), "test": test_names} | ({"validation": ("v.jpg",)} if validation else {})
    for part, names in parts.items():
        for folder in FOLDERS:
            (root / part / folder).mkdir(parents=True)
            for name in names:
                seed += 1
                image = cv2.cvtColor(cv2.resize(face(seed), (50, 60)), cv2.COLOR_GRAY2BGR)
                cv2.imwrite(str(root / part / folder / name), image)
    return root
