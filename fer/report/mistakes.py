"""The wrong answers that a net was surest of, with their images."""

import re
from pathlib import Path

import cv2
import numpy as np

from fer.data.dataset import SPLIT_NAMES
from fer.report.plots.scores import Mistake
from fer.report.scored_run import Scored

SHEET = 24  # mistakes on the contact sheet


def find_mistakes(scored: Scored, split: str = "val", count: int = SHEET) -> list[Mistake]:
    """The wrong answers the net was surest of, with their images; those whose image is gone are left out."""
    if scored.manifest is None or scored.split_name(split) != SPLIT_NAMES[split]:
        return []
    scores, folder = scored.scores[split], scored.data_dir / split
    surest = (-scores.probs.max(axis=1)).argsort(kind="stable")
    mistakes: list[Mistake] = []
    for index in (int(i) for i in surest if not scores.correct[i]):
        image = _read_image(folder, scores.files[index])
        if image is not None:
            true, predicted = int(scores.labels[index]), int(scores.predictions[index])
            names = scored.classes[true], scored.classes[predicted]
            mistakes.append(
                Mistake(image, *names, float(scores.probs[index, predicted]), Path(scores.files[index]).name)
            )
        if len(mistakes) == count:
            break
    return mistakes


def _read_image(folder: Path, file: str) -> np.ndarray | None:
    """uint8 [H,W], or None. A database's key is its file with a number in front."""
    for name in (file, re.sub(r"^\d{8}_", "", file)):
        if (path := folder / name).is_file():
            return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None
