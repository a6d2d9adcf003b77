"""The wrong answers that a net was surest of, and the commonest ones, with their images; labels in doubt."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fer.data.dataset import SPLIT_NAMES
from fer.evaluation.calibration import fit_temperature
from fer.evaluation.label_issues import label_issues
from fer.report.plots.faces import Confusion
from fer.report.plots.scores import Mistake
from fer.report.scored_run import Scored
from fer.report.table import csv_of

SHEET = 24  # mistakes on the contact sheet
PAIRS, FACES = 5, 6


def find_mistakes(scored: Scored, split: str = "val", count: int = SHEET) -> list[Mistake]:
    """The wrong answers the net was surest of, with their images; those whose image is gone are left out."""
    scores = scored.scores[split]
    return list(_first(count, _mistakes(scored, split, np.flatnonzero(~scores.correct))))


def find_confusions(scored: Scored, split: str = "val") -> list[Confusion]:
    """The pairs of true and answered class that are commonest, each with the faces the net was surest of; those
    without an image that is there are left out."""
    scores, metrics = scored.scores[split], scored.metrics[split]
    counts = metrics.confusion.copy()
    np.fill_diagonal(counts, 0)
    found = []
    for place in (-counts).ravel().argsort(kind="stable")[:PAIRS]:
        true, predicted = divmod(int(place), len(counts))
        rows = np.flatnonzero((scores.labels == true) & (scores.predictions == predicted))
        faces = list(_first(FACES, _mistakes(scored, split, rows)))
        if faces:
            share = len(rows) / int(metrics.confusion[true].sum())
            found.append(Confusion(scored.classes[true], scored.classes[predicted], len(rows), share, faces))
    return found


def doubts_csv(scored: Scored, split: str) -> str:
    """A row for each image whose label is in doubt, the most doubtful first."""
    scores = scored.scores[split]
    rows = label_issues(scores, fit_temperature(scores))
    answers = scores.predictions[rows]
    frame = pd.DataFrame(
        {
            "file": [scores.files[row] for row in rows],
            "label": [scored.classes[label] for label in scores.labels[rows]],
            "answer": [scored.classes[answer] for answer in answers],
            "probability of label": scores.probs[rows, scores.labels[rows]],
            "probability of answer": scores.probs[rows, answers],
        }
    )
    return csv_of(frame)


def _mistakes(scored: Scored, split: str, rows: np.ndarray) -> Iterator[Mistake]:
    """Of these rows, all wrong answers, the surest first."""
    if scored.manifest is None or scored.split_name(split) != SPLIT_NAMES[split]:
        return
    scores, folder = scored.scores[split], scored.data_dir / split
    doubted = set(label_issues(scores, fit_temperature(scores)).tolist())
    for row in (int(row) for row in rows[(-scores.probs.max(axis=1)[rows]).argsort(kind="stable")]):
        image = _read_image(folder, scores.files[row])
        if image is not None:
            true, predicted = int(scores.labels[row]), int(scores.predictions[row])
            yield Mistake(
                image,
                scored.classes[true],
                scored.classes[predicted],
                float(scores.probs[row, predicted]),
                Path(scores.files[row]).name,
                row in doubted,
            )


def _first(count: int, mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    for _, each in zip(range(count), mistakes, strict=False):
        yield each


def _read_image(folder: Path, file: str) -> np.ndarray | None:
    """uint8 [H,W], or None. A database's key is its file with a number in front."""
    for name in (file, re.sub(r"^\d{8}_", "", file)):
        if (path := folder / name).is_file():
            return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None
