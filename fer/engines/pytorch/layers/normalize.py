"""BatchNorm, Scale, Bias and MVN."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.core.layers import normalize as rules
from fer.engines.pytorch.layers.neuron import Elementwise
from fer.engines.pytorch.layers.parts import in_its_own_type
from fer.engines.pytorch.registry import Layer, register


@register("BatchNorm")
class BatchNorm(rules.BatchNorm, Elementwise):
    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=self.context.dtype, device=self.context.device)

    def apply(self, x: Tensor, factor: Tensor | None = None, term: Tensor | None = None) -> Tensor:
        """Normalised; and then, channel by channel, times `factor` [C] plus `term` [C], as the Scale behind it does."""
        normalize = self._by_stored if self.uses_stored else self._by_batch
        return normalize(x, factor, term) if x.dim() > 1 else normalize(x[:, None], factor, term)[:, 0]

    def _by_stored(self, x: Tensor, factor: Tensor | None, term: Tensor | None) -> Tensor:
        mean, variance, weight = self.blobs
        share = torch.where(weight == 0, torch.zeros_like(weight), 1 / weight)
        return F.batch_norm(x, mean * share, variance * share, factor, term, eps=self.param.batch_norm_param.eps)

    def _by_batch(self, x: Tensor, factor: Tensor | None, term: Tensor | None) -> Tensor:
        """With momentum 1 torch leaves just the batch's mean and unbiased variance, which is what Caffe adds up."""
        param = self.param.batch_norm_param
        mean, variance = self._zeros(self.channels), self._zeros(self.channels)
        if x.numel() == self.channels:
            top = F.batch_norm(x - x, torch.zeros_like(mean), torch.ones_like(mean), factor, term, eps=0)
            mean.copy_(x.detach().reshape(-1))
        else:
            top = F.batch_norm(x, mean, variance, factor, term, training=True, momentum=1.0, eps=param.eps)
        with torch.no_grad():
            for blob, fresh in zip(self.blobs, (mean, variance, torch.ones_like(mean[:1])), strict=True):
                blob.mul_(self.fraction).add_(fresh)
        return top


class _Affine(rules.Affine, Layer):
    pass


@register("Scale")
class Scale(rules.Scale, _Affine):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        factor = (bottoms[1] if len(bottoms) == 2 else self.blobs[0]).reshape(self.shape)
        if not self.param.scale_param.bias_term:
            return (bottoms[0] * factor,)
        return (torch.addcmul(self.blobs[-1].reshape(self.shape), bottoms[0], factor),)


@register("Bias")
class Bias(rules.Bias, _Affine):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0] + (bottoms[1] if len(bottoms) == 2 else self.blobs[0]).reshape(self.shape),)


@register("MVN")
class MVN(rules.MVN, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        param = self.param.mvn_param
        planes = x.reshape(*x.shape[:2], -1)
        axes = (1, 2) if param.across_channels else (2,)
        if not param.normalize_variance:
            return (planes - planes.mean(axes, keepdim=True)).reshape(x.shape)
        standard: Tensor = _Standardize.apply(planes, axes, param.eps)
        return standard.reshape(x.shape)


class _Standardize(torch.autograd.Function):
    """(x - mean) / (deviation + eps). Caffe's gradient takes eps for part of the deviation; so does this one."""

    @staticmethod
    @in_its_own_type
    def forward(ctx: Any, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        deviation = centred.square().mean(axes, keepdim=True).sqrt_().add_(eps)
        top = centred.div_(deviation)
        ctx.save_for_backward(top, deviation)
        ctx.axes = axes
        return top

    @staticmethod
    @once_differentiable
    @in_its_own_type
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        top, deviation = ctx.saved_tensors
        along = (grad * top).mean(ctx.axes, keepdim=True)
        return (grad - grad.mean(ctx.axes, keepdim=True)).addcmul_(top, along, value=-1).div_(deviation), None, None
