"""Layers that work on every number by itself."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.pytorch.layers.parts import axis_of, expect_bottoms, learnable
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2


class Elementwise(Layer):
    """One bottom, one top of the same shape."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        return [shapes[0]]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.apply(bottoms[0]),)

    def apply(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@register("ReLU")
class ReLU(Elementwise):
    """max(x, 0) + negative_slope * min(x, 0)."""

    def apply(self, x: Tensor) -> Tensor:
        slope = self.param.relu_param.negative_slope
        return F.leaky_relu(x, slope) if slope else F.relu(x)


@register("PReLU")
class PReLU(Elementwise):
    """max(x, 0) + slope * min(x, 0) with a learnt slope for each channel [channels], or one for all []."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.prelu_param
        filler = param.filler if param.HasField("filler") else caffe_pb2.FillerParameter(value=0.25)
        shape = () if param.channel_shared else (shapes[0][axis_of(self, 1, shapes[0])],)
        self.blobs = [learnable(self, filler, shape)]
        return tops

    def apply(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.blobs[0].reshape(-1))


@register("ELU")
class ELU(Elementwise):
    """x where positive, else alpha * (e^x - 1)."""

    def apply(self, x: Tensor) -> Tensor:
        return F.elu(x, self.param.elu_param.alpha)


@register("Swish")
class Swish(Elementwise):
    """x * sigmoid(beta * x)."""

    def apply(self, x: Tensor) -> Tensor:
        beta = self.param.swish_param.beta
        return F.silu(x) if beta == 1 else x * torch.sigmoid(beta * x)


@register("Clip")
class Clip(Elementwise):
    """x, but no less than min and no more than max; its gradient passes from min to max, both included."""

    def apply(self, x: Tensor) -> Tensor:
        param = self.param.clip_param
        return x.clamp(max=param.max).clamp(min=param.min)


@register("Threshold")
class Threshold(Elementwise):
    """1 above the threshold, else 0; without a gradient."""

    def apply(self, x: Tensor) -> Tensor:
        return (x.detach() > self.param.threshold_param.threshold).to(x.dtype)


@register("Dropout")
class Dropout(Elementwise):
    """Training: each number is 0 with probability dropout_ratio, else divided by 1 - dropout_ratio."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        if not 0 <= self.param.dropout_param.dropout_ratio < 1:
            self.fail(f"dropout_ratio must be from 0 to less than 1, not {self.param.dropout_param.dropout_ratio}")
        return super().reshape(shapes)

    def apply(self, x: Tensor) -> Tensor:
        ratio = self.param.dropout_param.dropout_ratio
        if not self.context.training or not ratio:
            return x
        generator = self.context.seeds.generator(f"{self.param.name}/dropout")
        # On a CPU uniform numbers are drawn several times faster than Bernoulli's.
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= ratio
        return x * kept.to(x.dtype).mul_(1 / (1 - ratio))


@register("Power")
class Power(Elementwise):
    """(shift + scale * x)^power."""

    def apply(self, x: Tensor) -> Tensor:
        param = self.param.power_param
        if not param.power * param.scale:
            # A constant: Caffe passes no gradient, and takes 0^0 for 1.
            return torch.full_like(x, param.shift**param.power if param.power else 1.0)
        line = x * param.scale + param.shift if param.scale != 1 or param.shift else x
        return line.pow(param.power) if param.power != 1 else line


class _Based(Elementwise):
    """What Exp and Log share: a base (-1: e), and a line that x goes through first."""

    def natural_base(self, param: caffe_pb2.ExpParameter | caffe_pb2.LogParameter) -> float:
        """The natural logarithm of the base."""
        if param.base != -1 and param.base <= 0:
            self.fail(f"base must be positive (or -1 for e), not {param.base}")
        return 1.0 if param.base == -1 else math.log(param.base)


@register("Exp")
class Exp(_Based):
    """base^(shift + scale * x)."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.log_base = self.natural_base(self.param.exp_param)
        return super().reshape(shapes)

    def apply(self, x: Tensor) -> Tensor:
        param = self.param.exp_param
        return torch.exp((x * param.scale + param.shift) * self.log_base)


@register("Log")
class Log(_Based):
    """Logarithm of shift + scale * x to the base."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.log_base = self.natural_base(self.param.log_param)
        if not self.log_base:
            self.fail("base must not be 1")
        return super().reshape(shapes)

    def apply(self, x: Tensor) -> Tensor:
        param = self.param.log_param
        return torch.log(x * param.scale + param.shift) / self.log_base


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=50)


def _plain(name: str, function: Callable[[Tensor], Tensor]) -> type[Layer]:
    """A layer without parameters."""
    return register(name)(type(name, (Elementwise,), {"apply": staticmethod(function), "__doc__": f"{name} of x."}))


Sigmoid = _plain("Sigmoid", torch.sigmoid)
TanH = _plain("TanH", torch.tanh)
AbsVal = _plain("AbsVal", torch.abs)
BNLL = _plain("BNLL", _softplus)
