"""Caffe's weight fillers. Weights are drawn on the CPU, so a seed gives the same net on every device."""

import math
from typing import Any, Protocol

import numpy as np

from fer.engines.core.framework import Shape
from fer.errors import FerError
from fer.nets.fillers import filler_fault
from fer.schema import caffe_pb2


class Draws(Protocol):
    """A framework's random numbers, written into arrays."""

    def uniform(self, blob: np.ndarray, low: float, high: float) -> None: ...

    def normal(self, blob: np.ndarray, mean: float, deviation: float) -> None: ...


def fill(
    filler: caffe_pb2.FillerParameter, shape: Shape, draws: Draws, real: type[np.floating[Any]] = np.float32
) -> np.ndarray:
    """A new array of `shape`, filled as `filler` says.

    FerError for an unknown filler or one that the shape does not allow.
    """
    if fault := filler_fault(filler):
        raise FerError(fault)
    try:
        blob = np.empty(shape, real)
    except (MemoryError, ValueError) as error:  # ValueError: no number for the size
        raise FerError(f"not enough memory for a parameter of {' x '.join(map(str, shape))} numbers") from error
    match filler.type:
        case "constant":
            blob.fill(filler.value)
        case "gaussian":
            _gaussian(blob, filler, draws)
        case "uniform":
            draws.uniform(blob, filler.min, filler.max)
        case "xavier":
            bound = math.sqrt(3 / _fan(filler, shape))
            draws.uniform(blob, -bound, bound)
        case "msra":
            draws.normal(blob, 0, math.sqrt(2 / _fan(filler, shape)))
        case "positive_unitball":
            draws.uniform(blob, 0, 1)
            rows = blob.reshape(shape[0] if shape else 1, -1)
            rows /= rows.sum(1, keepdims=True)
        case "bilinear":
            _bilinear(blob)
    return blob


def _gaussian(blob: np.ndarray, filler: caffe_pb2.FillerParameter, draws: Draws) -> None:
    draws.normal(blob, filler.mean, filler.std)
    if filler.sparse >= 0:
        if blob.ndim < 1:
            raise FerError("a sparse gaussian filler needs a blob with at least one axis")
        if filler.sparse > blob.shape[0]:
            raise FerError(f"a sparse gaussian filler keeps {filler.sparse} of {blob.shape[0]}")
        chances = np.empty(blob.shape, np.float32)
        draws.uniform(chances, 0, 1)
        blob *= chances < filler.sparse / blob.shape[0]


def _fan(filler: caffe_pb2.FillerParameter, shape: Shape) -> float:
    """Number of inputs, of outputs, or their mean, as variance_norm asks."""
    count = math.prod(shape)
    fan_in = count / shape[0] if shape else count
    fan_out = count / shape[1] if len(shape) > 1 else count
    norms = {caffe_pb2.FillerParameter.FAN_OUT: fan_out, caffe_pb2.FillerParameter.AVERAGE: (fan_in + fan_out) / 2}
    return max(norms.get(filler.variance_norm, fan_in), 1)


def _bilinear(blob: np.ndarray) -> None:
    if blob.ndim != 4 or blob.shape[2] != blob.shape[3]:
        raise FerError(f"the bilinear filler needs a 4-D blob of square kernels, not {blob.shape}")
    width = blob.shape[3]
    factor = math.ceil(width / 2)
    centre = (width - 1) / (2 * factor)  # since October 2017; the tag 1.0 has another, which is off at some widths
    slope = 1 - abs(np.arange(width) / factor - centre)
    blob[...] = np.outer(slope, slope)
