"""Labels that a net's answers cast doubt on (confident learning; Northcutt, JAIR 70, 2021)."""

import numpy as np
from numpy.typing import NDArray

from fer.evaluation.scores import Scores


def label_issues(scores: Scores) -> NDArray[np.int64]:
    """The rows of images whose label is in doubt, the most doubtful first.

    The net answers another class, with at least the mean probability that it gives that class where it is the label.
    Of two such rows the one whose label it holds for less likely, against its answer, comes first.
    """
    rows = np.arange(len(scores.labels))
    classes = scores.probs.shape[1]
    own = scores.probs[rows, scores.labels].astype(np.float64)
    counts = np.bincount(scores.labels, minlength=classes)
    usual = np.where(counts, np.bincount(scores.labels, own, classes) / np.maximum(counts, 1), np.inf)
    answered = scores.probs[rows, scores.predictions]
    doubted = np.flatnonzero(~scores.correct & (answered >= usual[scores.predictions]))
    return doubted[np.argsort((own - answered)[doubted], kind="stable")]
