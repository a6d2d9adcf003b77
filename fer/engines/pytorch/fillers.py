"""Caffe's weight fillers. Weights are drawn on the CPU, so a seed gives the same net on every device."""

import math

import torch
from torch import Tensor

from fer.engines.pytorch.registry import Context, Shape
from fer.errors import FerError
from fer.nets.fillers import filler_fault
from fer.schema import caffe_pb2


def fill(filler: caffe_pb2.FillerParameter, shape: Shape, context: Context) -> Tensor:
    """A new tensor of `shape` in the context's dtype and device, filled as `filler` says.

    FerError for an unknown filler or one that the shape does not allow.
    """
    if fault := filler_fault(filler):
        raise FerError(fault)
    generator = context.seeds.generator("fillers", "cpu")
    try:
        blob = torch.empty(shape, dtype=context.dtype)
    except RuntimeError as error:  # what torch raises on the CPU where there is no room, or no number for the size
        raise FerError(f"not enough memory for a parameter of {' x '.join(map(str, shape))} numbers") from error
    match filler.type:
        case "constant":
            blob.fill_(filler.value)
        case "gaussian":
            _gaussian(blob, filler, generator)
        case "uniform":
            blob.uniform_(filler.min, filler.max, generator=generator)
        case "xavier":
            bound = math.sqrt(3 / _fan(filler, shape))
            blob.uniform_(-bound, bound, generator=generator)
        case "msra":
            blob.normal_(0, math.sqrt(2 / _fan(filler, shape)), generator=generator)
        case "positive_unitball":
            blob.uniform_(0, 1, generator=generator)
            rows = blob.reshape(shape[0] if shape else 1, -1)
            blob = (rows / rows.sum(1, keepdim=True)).reshape(shape)
        case "bilinear":
            _bilinear(blob)
    return blob.to(context.device)


def _gaussian(blob: Tensor, filler: caffe_pb2.FillerParameter, generator: torch.Generator) -> None:
    blob.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse >= 0:
        if blob.dim() < 1:
            raise FerError("a sparse gaussian filler needs a blob with at least one axis")
        if filler.sparse > blob.shape[0]:
            raise FerError(f"a sparse gaussian filler keeps {filler.sparse} of {blob.shape[0]}")
        kept = torch.rand(blob.shape, generator=generator) < filler.sparse / blob.shape[0]
        blob.mul_(kept)


def _fan(filler: caffe_pb2.FillerParameter, shape: Shape) -> float:
    """Number of inputs, of outputs, or their mean, as variance_norm asks."""
    count = math.prod(shape)
    fan_in = count / shape[0] if shape else count
    fan_out = count / shape[1] if len(shape) > 1 else count
    norms = {caffe_pb2.FillerParameter.FAN_OUT: fan_out, caffe_pb2.FillerParameter.AVERAGE: (fan_in + fan_out) / 2}
    return max(norms.get(filler.variance_norm, fan_in), 1)


def _bilinear(blob: Tensor) -> None:
    if blob.dim() != 4 or blob.shape[2] != blob.shape[3]:
        raise FerError(f"the bilinear filler needs a 4-D blob of square kernels, not {tuple(blob.shape)}")
    width = blob.shape[3]
    factor = math.ceil(width / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    slope = 1 - (torch.arange(width, dtype=torch.float64) / factor - centre).abs()
    blob.copy_(torch.outer(slope, slope))
