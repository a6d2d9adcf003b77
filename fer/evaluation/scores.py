"""What nets said of every image of a split, checked; several nets' as one, and without some of the images."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import FerError
from fer.runs.scores import ScoresMeta, read_scores

ROW_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scores:
    """What a net said of every image of one split.

    split   "val" or "test"
    files   the images' file names, N, each once
    labels  int64 [N], true classes
    probs   float32 [N,C], each row a distribution
    """

    split: str
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """int64 [N]; of equal probabilities the first class."""
        return np.asarray(self.probs.argmax(axis=1), np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.predictions == self.labels)


@dataclass(frozen=True)
class StoredScores(Scores):
    """Scores of a file, and what it says of them."""

    meta: ScoresMeta


def load_scores(path: str | os.PathLike[str]) -> StoredScores:
    """Reads and checks a scores file. Raises FerError if it is missing or damaged, or holds no probabilities."""
    arrays, meta = read_scores(Path(path))
    try:
        return StoredScores(**vars(make_scores(meta.split, **arrays)), meta=meta)
    except FerError as error:
        raise FerError(f"{path}: {error}") from error


def make_scores(split: str, files: Any, labels: Any, probs: Any) -> Scores:
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
    return Scores(split, names, labels.astype(np.int64), probs.astype(np.float32))


def _refuse(names: Sequence[str], bad: NDArray[np.bool_], what: str) -> None:
    if bad.any():
        raise FerError(f"{names[int(bad.argmax())]}: {what} ({int(bad.sum())} of {len(names)} images)")


def match(a: Scores, b: Scores) -> NDArray[np.int64]:
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
    probs = np.mean([member.probs[match(first, member)] for member in members], axis=0, dtype=np.float64)
    return make_scores(first.split, first.files, first.labels, probs.astype(np.float32))


def without(scores: Scores, files: Collection[str]) -> Scores | None:
    """The scores of all images but these; None where none is left."""
    kept = np.array([file not in files for file in scores.files])
    if not kept.any():
        return None
    names = [file for file in scores.files if file not in files]
    return make_scores(scores.split, names, scores.labels[kept], scores.probs[kept])


def recalls(scores: Scores) -> tuple[float | None, ...]:
    """Of each class the share of its images that is right; None where it has none."""
    count = scores.probs.shape[1]
    support = np.bincount(scores.labels, minlength=count).tolist()
    right = np.bincount(scores.labels[scores.correct], minlength=count).tolist()
    return tuple(each / of if of else None for each, of in zip(right, support, strict=True))


def count_undecided(scores: Scores, margin: float) -> int:
    """The images whose true class and the likeliest other one differ in probability by `margin` at most."""
    rows = np.arange(len(scores.labels))
    others = scores.probs.copy()
    others[rows, scores.labels] = -np.inf
    return int((np.abs(scores.probs[rows, scores.labels] - others.max(axis=1)) <= margin).sum())


def log_loss(labels: NDArray[np.int64], probs: NDArray[np.float32]) -> float:
    """Mean of -ln(probability of the true class), clipped at FLT_MIN as in Caffe's SoftmaxWithLoss layer."""
    true = probs[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny), dtype=np.float64).mean())
