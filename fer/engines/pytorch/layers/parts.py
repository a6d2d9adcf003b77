"""What layers are built from."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch

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


def wide(x: torch.Tensor) -> torch.Tensor:
    """In 32 bits at least, in which losses are summed."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
