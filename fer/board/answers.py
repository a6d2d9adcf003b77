"""What a scored run said of each image of a split, by true and by predicted class."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fer.data.classes import class_names
from fer.evaluation.scores import StoredScores, load_scores
from fer.runs.run import Run

_NUMBER = re.compile(r"^\d{8}_")  # in front of a file's name where it is a database's key


@dataclass(frozen=True)
class Answer:
    """An image's name in its split, its classes, and the probability of the one predicted."""

    name: str
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Answers:
    """`data_dir` holds the images, unless they are the user's own."""

    classes: tuple[str, ...]
    scores: StoredScores
    data_dir: Path

    @cached_property
    def confusion(self) -> list[list[int]]:
        """Rows: true class."""
        found = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(found, (self.scores.labels, self.scores.predictions), 1)
        rows: list[list[int]] = found.tolist()
        return rows

    def of(self, true: int | None, predicted: int | None, *, sure_first: bool) -> list[Answer]:
        """The answers of a cell, a row, a column or all of the confusion matrix, by the net's confidence."""
        labels, predictions = self.scores.labels, self.scores.predictions
        chosen = np.ones(len(labels), bool)
        if true is not None:
            chosen &= labels == true
        if predicted is not None:
            chosen &= predictions == predicted
        sure = self.scores.probs.max(axis=1)
        order = np.flatnonzero(chosen)[np.argsort(-sure[chosen] if sure_first else sure[chosen], kind="stable")]
        return [
            Answer(_NUMBER.sub("", self.scores.files[i]), int(labels[i]), int(predictions[i]), float(sure[i]))
            for i in order.tolist()
        ]


def read_answers(run: Run, split: str) -> Answers:
    """Raises FerError where the run is not scored on that split."""
    scores = load_scores(run.scores(split))
    classes = class_names(run.record.data.classes, scores.probs.shape[1])
    return Answers(classes, scores, Path(run.record.data.dir))
