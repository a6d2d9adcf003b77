"""What layers are built from: counts of bottoms, axes counted as Caffe counts them, learnable blobs."""

import functools
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from fer.engines.pytorch.fillers import fill
from fer.engines.pytorch.registry import Layer, Shape
from fer.errors import FerError
from fer.schema import caffe_pb2

_Owner = TypeVar("_Owner")
_Rest = ParamSpec("_Rest")
_Result = TypeVar("_Result")


def in_its_own_type(
    function: Callable[Concatenate[_Owner, torch.Tensor, _Rest], _Result],
) -> Callable[Concatenate[_Owner, torch.Tensor, _Rest], _Result]:
    """Decorates `function(self or ctx, tensor, ...)`: it computes in the tensor's type, whatever autocast is on.

    Which operations autocast takes to float32 differs from device to device (`rsqrt`, `pow`, `sum` on CUDA alone), and
    an autograd function that was written for one type must not meet two.
    """

    @functools.wraps(function)
    def call(ctx: _Owner, tensor: torch.Tensor, /, *rest: _Rest.args, **named: _Rest.kwargs) -> _Result:
        with torch.autocast(tensor.device.type, enabled=False):
            return function(ctx, tensor, *rest, **named)

    return call


def expect_bottoms(layer: Layer, shapes: Sequence[Shape], fewest: int, most: int | None = None) -> None:
    """FerError unless there are `fewest` to `most` bottoms (`most` None: exactly `fewest`)."""
    most = fewest if most is None else most
    if not fewest <= len(shapes) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        layer.fail(f"takes {wanted} bottoms, not {len(shapes)}")


def axis_of(layer: Layer, axis: int, shape: Shape) -> int:
    """`axis` counted from the front; FerError where `shape` has no such axis."""
    if not -len(shape) <= axis < len(shape):
        layer.fail(f"axis {axis} is outside of its bottom's shape {shape}")
    return axis % len(shape)


def learnable(layer: Layer, filler: caffe_pb2.FillerParameter, shape: Shape) -> nn.Parameter:
    """A new blob of `shape`, drawn by `filler`; the layer's name is added to what the filler refuses."""
    try:
        return nn.Parameter(fill(filler, shape, layer.context))
    except FerError as error:
        layer.fail(str(error))
