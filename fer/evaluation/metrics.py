"""What the scores of a split say: accuracy with its interval, confusion, per-class figures, ROC, a test between nets.

metrics = compute_metrics(load_scores(run.scores("val")), CLASSES)
metrics.accuracy, metrics.interval, metrics.confusion
"""

import json
import math
import os
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics as sk

from fer.errors import FerError

ROW_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scores:
    """What a net said of every image of one split.

    split   "val" or "test"
    files   the images' file names, N, each once
    labels  int64 [N], true classes
    probs   float32 [N,C], each row a distribution
    meta    where it comes from: iteration, weights, weights_sha256, ten_crop, engine, database, seconds
    """

    split: str
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    meta: dict[str, Any]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """int64 [N]; of equal probabilities the first class."""
        answers: NDArray[np.int64] = self.probs.argmax(axis=1).astype(np.int64)
        return answers

    @property
    def correct(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.predictions == self.labels
        return right


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
    def commonest_class(self) -> float:
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


def load_scores(path: str | os.PathLike[str]) -> Scores:
    """Reads and checks a scores file (arrays files, labels, probs and the JSON string meta). Raises FerError."""
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            files, labels, probs, meta = (arrays[name] for name in ("files", "labels", "probs", "meta"))
        facts = json.loads(str(meta))
    except FileNotFoundError as error:
        raise FerError(f"{path} is missing: the run is not scored yet (fer report RUN scores it)") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FerError(f"{path} is damaged ({error}): delete it and let fer report RUN score again") from error
    if not isinstance(facts, dict):
        raise FerError(f"{path} is damaged (meta is no JSON object): delete it and let fer report RUN score again")
    try:
        return make_scores(str(facts.get("split", "")), files, labels, probs, facts)
    except FerError as error:
        raise FerError(f"{path}: {error}") from error


def make_scores(split: str, files: Any, labels: Any, probs: Any, meta: dict[str, Any] | None = None) -> Scores:
    """Scores, checked: no NaN can pass for an accuracy (argmax of NaN is 0, Caffe's Accuracy layer counts it right)."""
    files, labels, probs = np.asarray(files), np.asarray(labels), np.asarray(probs)
    if probs.ndim != 2 or labels.shape != probs.shape[:1] or files.shape != labels.shape:
        shapes = f"files {files.shape}, labels {labels.shape}, probabilities {probs.shape}"
        raise FerError(f"scores do not fit together: {shapes}; wanted [N], [N], [N,C]")
    if len(labels) == 0:
        raise FerError("scores hold no image")
    if not np.issubdtype(labels.dtype, np.integer) or not np.issubdtype(probs.dtype, np.floating):
        raise FerError(f"labels are {labels.dtype} and probabilities {probs.dtype}; wanted integers and floats")
    names = tuple(str(name) for name in files)
    _refuse(names, ~np.isfinite(probs).all(axis=1), "probability is not a finite number: the net has diverged")
    _refuse(names, (probs < 0).any(axis=1), "probability is negative")
    off = abs(probs.sum(axis=1, dtype=np.float64) - 1) > ROW_SUM_TOLERANCE
    _refuse(names, off, "probabilities do not sum to 1: is the net's last layer a Softmax?")
    _refuse(names, (labels < 0) | (labels >= probs.shape[1]), f"label is not 0..{probs.shape[1] - 1}")
    if len(set(names)) < len(names):
        repeated = next(name for index, name in enumerate(names) if name in names[:index])
        raise FerError(f"{repeated} is scored more than once; every image counts once")
    return Scores(split, names, labels.astype(np.int64), probs.astype(np.float32), meta or {})


def _refuse(names: Sequence[str], bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise FerError(f"{names[int(bad.argmax())]}: {what} ({int(bad.sum())} of {len(names)} images)")


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


def log_loss(labels: NDArray[np.int64], probs: NDArray[np.float32]) -> float:
    """Mean of -ln(probability of the true class), clipped at FLT_MIN as in Caffe's SoftmaxWithLoss layer."""
    true = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny), dtype=np.float64).mean())


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
    right_a, right_b = a.correct, b.correct[_match(a, b)]
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Comparison(only_a, only_b, int((right_a & right_b).sum()), int((~right_a & ~right_b).sum()), p_value)


def _match(a: Scores, b: Scores) -> NDArray[np.int64]:
    """Where each of a's images stands in b, [N]. Raises FerError when they are not the same or have other labels."""
    rows = {file: row for row, file in enumerate(b.files)}
    if rows.keys() != set(a.files):
        different = len(set(a.files) ^ rows.keys())
        raise FerError(f"not of the same images: {different} files are in only one of the two {a.split} sets")
    order = np.array([rows[file] for file in a.files])
    if different := int((a.labels != b.labels[order]).sum()):
        raise FerError(f"not of the same labels: {different} of {len(a.files)} {a.split} images differ")
    return order


def mean_scores(members: Sequence[Scores]) -> Scores:
    """Several nets as one: the mean of their probabilities, image by image, in the first one's order.

    Raises FerError when they did not score the same images with the same labels, or answer other numbers of classes.
    """
    first = members[0]
    if len({member.probs.shape[1] for member in members}) > 1:
        raise FerError("not of the same classes: the nets answer other numbers of them")
    probs = np.mean([member.probs[_match(first, member)] for member in members], axis=0, dtype=np.float64)
    return make_scores(first.split, first.files, first.labels, probs.astype(np.float32))


def without(scores: Scores, files: Collection[str]) -> Scores | None:
    """The scores of all images but these; None where none is left."""
    kept = np.array([file not in files for file in scores.files])
    if not kept.any():
        return None
    names = [file for file in scores.files if file not in files]
    return make_scores(scores.split, names, scores.labels[kept], scores.probs[kept], scores.meta)


def to_json(metrics: Metrics) -> dict[str, Any]:
    """For metrics.json: plain numbers, the ROC curves as their areas."""
    return {
        "split": metrics.split,
        "count": metrics.count,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "accuracy_interval_95": [metrics.interval.low, metrics.interval.high],
        "misclassification": metrics.misclassification,
        "misclassification_interval_95": [
            metrics.misclassification_interval.low,
            metrics.misclassification_interval.high,
        ],
        "balanced_accuracy": metrics.balanced_accuracy,
        "log_loss": metrics.log_loss if math.isfinite(metrics.log_loss) else None,
        "auc_macro": metrics.roc_macro.auc if metrics.roc_macro else None,
        "auc_micro": metrics.roc_micro.auc if metrics.roc_micro else None,
        "confusion": metrics.confusion.tolist(),
        "classes": [
            {
                "name": c.name,
                "support": c.support,
                "predicted": c.predicted,
                "correct": c.correct,
                "precision": c.precision,
                "recall": c.recall,
                "f1": c.f1,
                "auc": c.roc.auc if c.roc else None,
            }
            for c in metrics.classes
        ],
    }
