"""Layers that work on every number by itself."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.core.layers import neuron as rules
from fer.engines.pytorch.registry import Layer, register


class Elementwise(rules.Elementwise, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.apply(bottoms[0]),)

    def apply(self, x: Tensor) -> Tensor:
        raise NotImplementedError


@register("ReLU")
class ReLU(rules.ReLU, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        slope = self.param.relu_param.negative_slope
        return F.leaky_relu(x, slope) if slope else F.relu(x)


@register("PReLU")
class PReLU(rules.PReLU, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.blobs[0].reshape(-1))


@register("ELU")
class ELU(rules.ELU, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        return F.elu(x, self.param.elu_param.alpha)


@register("Swish")
class Swish(rules.Swish, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        beta = self.param.swish_param.beta
        return F.silu(x) if beta == 1 else x * torch.sigmoid(beta * x)


@register("Clip")
class Clip(rules.Clip, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        param = self.param.clip_param
        return x.clamp(max=param.max).clamp(min=param.min)


@register("Threshold")
class Threshold(rules.Threshold, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        return (x.detach() > self.param.threshold_param.threshold).to(x.dtype)


@register("Dropout")
class Dropout(rules.Dropout, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        ratio = self.param.dropout_param.dropout_ratio
        if not self.context.training or not ratio:
            return x
        generator = self.context.seeds.generator(f"{self.param.name}/dropout")
        # On a CPU uniform numbers are drawn several times faster than Bernoulli's.
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= ratio
        return x * kept.to(x.dtype).mul_(1 / (1 - ratio))


@register("Power")
class Power(rules.Power, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        param = self.param.power_param
        if not param.power * param.scale:
            # A constant, inf and nan as C's pow gives them: Caffe passes no gradient, and takes 0^0 for 1.
            constant = torch.tensor(param.shift).pow(param.power) if param.power else 1.0
            return torch.full_like(x, float(constant))
        line = x * param.scale + param.shift if param.scale != 1 or param.shift else x
        return line.pow(param.power) if param.power != 1 else line


class _Based(rules.Based, Elementwise):
    pass


@register("Exp")
class Exp(rules.Exp, _Based):
    def apply(self, x: Tensor) -> Tensor:
        param = self.param.exp_param
        return torch.exp((x * param.scale + param.shift) * self.log_base)


@register("Log")
class Log(rules.Log, _Based):
    def apply(self, x: Tensor) -> Tensor:
        param = self.param.log_param
        return torch.log(x * param.scale + param.shift) / self.log_base


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x, threshold=50)


def _plain(layer: type[rules.Elementwise], function: Callable[[Tensor], Tensor]) -> type[Layer]:
    """A layer without parameters."""
    name = layer.__name__
    return register(name)(type(name, (layer, Elementwise), {"apply": staticmethod(function)}))


Sigmoid = _plain(rules.Sigmoid, torch.sigmoid)

TanH = _plain(rules.TanH, torch.tanh)

AbsVal = _plain(rules.AbsVal, torch.abs)

BNLL = _plain(rules.BNLL, _softplus)
