"""Local response normalisation."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.core.layers import lrn as rules
from fer.engines.pytorch.layers.parts import in_its_own_type
from fer.engines.pytorch.registry import Layer, Shape, register


@register("LRN")
class LRN(rules.LRN, Layer):
    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self._bands: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        return super().reshape(shapes)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, images = self.param.lrn_param, bottoms[0]
        if self.across:
            return (_AcrossChannels.apply(images, self._band(images), param.k, param.beta),)
        return (self._within_channel(images),)

    @in_its_own_type
    def _within_channel(self, images: Tensor) -> Tensor:
        param = self.param.lrn_param
        side = param.local_size
        mean = F.avg_pool2d(images.square(), side, 1, side // 2)
        return images * (1 + param.alpha * mean).pow(-param.beta)

    def _band(self, images: Tensor) -> Tensor:
        """[C, C]: alpha / n where two channels lie in one window, else 0."""
        key = images.dtype, images.device
        if key not in self._bands:
            param = self.param.lrn_param
            self._bands[key] = (torch.from_numpy(self.band()) * (param.alpha / param.local_size)).to(images)
        return self._bands[key]


class _AcrossChannels(torch.autograd.Function):
    """The sum over a window of channels is a product with a banded matrix: far faster than pooling channels."""

    @staticmethod
    @in_its_own_type
    def forward(ctx: Any, images: Tensor, band: Tensor, k: float, beta: float) -> Tensor:
        scale = _over_channels(images.square(), band).add_(k)
        ctx.save_for_backward(images, band, scale)
        ctx.beta = beta
        return images * _power(scale, beta)

    @staticmethod
    @once_differentiable
    @in_its_own_type
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        images, band, scale = ctx.saved_tensors
        direct = grad * _power(scale, ctx.beta)
        spread = _over_channels((direct * images).div_(scale), band)
        return direct.addcmul_(images, spread, value=-2 * ctx.beta), None, None, None


def _over_channels(images: Tensor, band: Tensor) -> Tensor:
    """`band` applied to the channels, in the memory format that `images` has."""
    if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        batch, channels, height, width = images.shape
        rows = images.permute(0, 2, 3, 1).reshape(-1, channels)
        return (rows @ band).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
    return torch.matmul(band, images.flatten(2)).reshape(images.shape)


def _power(scale: Tensor, beta: float) -> Tensor:
    """scale^-beta; roots are several times faster than a power."""
    if beta == 0.75:
        root = scale.rsqrt()
        return root.sqrt().mul_(root)
    return scale.rsqrt() if beta == 0.5 else scale.pow(-beta)
