"""Whether a net is right as often as it says: expected calibration error, and the temperature that mends it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from fer.evaluation.scores import Scores, log_loss

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """The images by confidence, the probability of the class that is answered, in bins of equal width over [0, 1].

    counts      int64 [B]
    confidence  float64 [B], the mean of each bin; NaN in an empty one
    accuracy    float64 [B], likewise
    error       the expected calibration error: the mean of |accuracy - confidence| over all images (Naeini, AAAI 2015)
    log_loss    of the same probabilities
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float
    log_loss: float


def calibration(scores: Scores, temperature: float = 1.0) -> Calibration:
    """The calibration of scores, whose logits are divided by `temperature`."""
    probs = at_temperature(scores.probs, temperature)
    confidences = probs.max(axis=1)
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, confidences, BINS) / counts
        accuracy = np.bincount(bins, scores.correct, BINS) / counts
    error = float(np.nansum(counts * np.abs(accuracy - confidence)) / counts.sum())
    return Calibration(counts, confidence, accuracy, error, log_loss(scores.labels, probs.astype(np.float32)))


def at_temperature(probs: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """float64 [N,C]: the softmax of the logits divided by `temperature`, of probabilities [N,C]; 1 leaves them."""
    logs = np.log(np.maximum(probs.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(scores: Scores) -> float:
    """The temperature between 1/100 and 100 of the least log loss (Guo, ICML 2017); it changes no answer.

    To be fitted on val alone: what test says of it afterwards is then honest.
    """

    def loss(log_temperature: float) -> float:
        probs = at_temperature(scores.probs, np.exp(log_temperature))
        return log_loss(scores.labels, probs.astype(np.float32))

    found = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
