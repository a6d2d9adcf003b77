"""The matrix H of Caffe's InfogainLoss: label smoothing and class weights in stock Caffe.

The loss of an image of class l is -sum over k of H[l, k] * log p[k]; H the identity is SoftmaxWithLoss.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.formats.blobs import read_blob, write_blob


def infogain_matrix(
    classes: int, smoothing: float = 0.0, counts: Sequence[int] | None = None, power: float = 1.0
) -> np.ndarray:
    """H, float32 [classes, classes].

    smoothing  share of the target that all classes have in equal parts
    counts     training images of each class: each class's row is weighted by 1 / count**power, times what makes the
               weights' mean over the images 1
    power      1: all classes count alike; 0.5: half way there, in orders of magnitude
    """
    smoothed = (1 - smoothing) * np.eye(classes) + smoothing / classes
    weights = np.ones(classes)
    if counts is not None:
        weights = np.asarray(counts, np.float64) ** -power
        weights *= np.sum(counts) / np.dot(weights, counts)
    return (weights[:, np.newaxis] * smoothed).astype(np.float32)


def write_infogain(path: Path, matrix: np.ndarray) -> None:
    """Write H as Caffe reads it: a BlobProto of 1 x 1 x K x K, atomically. Raises FerError where it cannot."""
    write_blob(path, matrix[np.newaxis, np.newaxis])


def read_infogain(path: Path, classes: int) -> np.ndarray:
    """H, float32 [classes, classes]. Raises FerError when it is missing, cut off, of another size or not finite."""
    matrix = read_blob(path, "infogain matrix")
    if matrix.size != classes**2:
        raise FerError(f"the infogain matrix {path} holds {matrix.size:,} numbers, not {classes}x{classes}")
    return matrix.reshape(classes, classes)
