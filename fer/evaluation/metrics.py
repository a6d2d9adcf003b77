"""What the scores of a split say: accuracy with its interval, confusion, per-class figures, ROC, a test between nets.

metrics = compute_metrics(load_scores(run.scores("val")), CLASSES)
metrics.accuracy, metrics.interval, metrics.confusion
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics as sk

from fer.errors import FerError
from fer.evaluation.scores import Scores, log_loss, match


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A ROC curve: false and true positive rates float64 [K], and the area under it."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    auc: float


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest.

    recall is the class's accuracy: correct / support. Undefined figures (no such image, never predicted) are None.
    """

    name: str
    support: int
    predicted: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc: Curve | None


@dataclass(frozen=True)
class Metrics:
    """confusion is int64 [C,C], rows the true class, columns the predicted one. Undefined figures are None."""

    split: str
    count: int
    correct: int
    accuracy: float
    interval: Interval
    misclassification: float
    log_loss: float
    balanced_accuracy: float
    confusion: NDArray[np.int64]
    classes: tuple[ClassMetrics, ...]
    roc_micro: Curve | None
    roc_macro: Curve | None

    @property
    def majority_baseline(self) -> float:
        """The accuracy of always answering the commonest class."""
        return max(c.support for c in self.classes) / self.count

    @property
    def misclassification_interval(self) -> Interval:
        return Interval(1 - self.interval.high, 1 - self.interval.low)


@dataclass(frozen=True)
class Comparison:
    """McNemar's test between two nets on the same images."""

    only_a: int
    only_b: int
    both: int
    neither: int
    p_value: float


def compute_metrics(scores: Scores, classes: Sequence[str]) -> Metrics:
    """Everything the report tells of one split. Raises FerError when the class names do not fit the probabilities."""
    labels, predictions = scores.labels, scores.predictions
    if len(classes) != scores.probs.shape[1]:
        raise FerError(f"{len(classes)} class names for {scores.probs.shape[1]} probabilities")
    indices = list(range(len(classes)))
    confusion = sk.confusion_matrix(labels, predictions, labels=indices).astype(np.int64)
    rocs = [roc_curve(labels == index, scores.probs[:, index]) for index in indices]
    truth = np.eye(len(classes), dtype=bool)[labels]
    correct, count = int(scores.correct.sum()), len(labels)
    support, recalled = confusion.sum(axis=1), confusion.diagonal()
    present = support > 0
    return Metrics(
        split=scores.split,
        count=count,
        correct=correct,
        accuracy=correct / count,
        interval=wilson_interval(correct, count),
        misclassification=1 - correct / count,
        log_loss=log_loss(labels, scores.probs),
        balanced_accuracy=float((recalled[present] / support[present]).mean()),
        confusion=confusion,
        classes=tuple(_class_metrics(name, i, confusion, rocs[i]) for i, name in enumerate(classes)),
        roc_micro=roc_curve(truth.ravel(), scores.probs.ravel()),
        roc_macro=macro_curve(rocs),
    )


def _class_metrics(name: str, index: int, confusion: NDArray[np.int64], roc: Curve | None) -> ClassMetrics:
    correct = int(confusion[index, index])
    support, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
    return ClassMetrics(
        name=name,
        support=support,
        predicted=predicted,
        correct=correct,
        precision=correct / predicted if predicted else None,
        recall=correct / support if support else None,
        f1=2 * correct / (support + predicted) if support + predicted else None,
        roc=roc,
    )


def wilson_interval(correct: int, count: int) -> Interval:
    """The 95% score interval of a proportion (Wilson, JASA 22, 1927, p. 209)."""
    interval = binomtest(correct, count).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def roc_curve(positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]]) -> Curve | None:
    """The ROC curve (Fawcett, Pattern Recognition Letters 27, 2006), None without a positive or without a negative."""
    if positive.all() or not positive.any():
        return None
    fpr, tpr, _ = sk.roc_curve(positive, scores)
    return Curve(fpr, tpr, float(sk.auc(fpr, tpr)))


def macro_curve(curves: Sequence[Curve | None]) -> Curve | None:
    """The mean of the classes' curves at each false positive rate; its area is the mean of theirs (one versus rest)."""
    known = [curve for curve in curves if curve is not None]
    if not known:
        return None
    grid = np.unique(np.concatenate([curve.false_positive_rate for curve in known]))
    mean = np.mean([np.interp(grid, c.false_positive_rate, c.true_positive_rate) for c in known], axis=0)
    return Curve(np.r_[0.0, grid], np.r_[0.0, mean], float(np.mean([curve.auc for curve in known])))


def mcnemar(a: Scores, b: Scores) -> Comparison:
    """McNemar's exact test (Psychometrika 12, 1947): of the images only one net has right, is each net's half likely?

    Two-sided binomial test. Raises FerError when the two did not score the same images with the same labels.
    """
    right_a, right_b = a.correct, b.correct[match(a, b)]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Comparison(only_a, only_b, int((right_a & right_b).sum()), int((~right_a & ~right_b).sum()), p_value)
