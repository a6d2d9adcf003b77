"""Labels that a net's answers cast doubt on, after confident learning (Northcutt, JAIR 70, 2021)."""

import numpy as np
from numpy.typing import NDArray

from fer.evaluation.calibration import at_temperature
from fer.evaluation.scores import Scores

ODDS = 10
"""How many times as likely as the label the answer must be; once calibrated, a net that is often wrong is never so
sure."""


def label_issues(scores: Scores, temperature: float) -> NDArray[np.int64]:
    """The rows of images whose label is in doubt, the most doubtful first.

    Of probabilities at the `temperature` that calibrates them: the net holds another class for ten times as likely as
    the label, and for as likely, at least, as it does on average where that class is the label. Of two such rows the
    one with the larger difference between its answer and its label comes first.
    """
    probs = at_temperature(scores.probs, temperature)
    rows, classes = np.arange(len(probs)), probs.shape[1]
    own, answered = probs[rows, scores.labels], probs[rows, scores.predictions]
    counts = np.bincount(scores.labels, minlength=classes)
    usual = np.where(counts, np.bincount(scores.labels, own, classes) / np.maximum(counts, 1), np.inf)
    doubted = np.flatnonzero((answered >= ODDS * own) & (answered >= usual[scores.predictions]))
    return doubted[np.argsort((own - answered)[doubted], kind="stable")]
