"""Local response normalisation."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.pytorch.layers.parts import expect_bottoms, in_its_own_type
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2


@register("LRN")
class LRN(Layer):
    """x * s^-beta with s = k + alpha / n * (sum of squares over n channels), or s = 1 + alpha * (mean over n x n)."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        param = self.param.lrn_param
        if param.local_size % 2 == 0:
            self.fail(f"local_size must be odd, not {param.local_size}")
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        self.across = param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS
        self._channels = shapes[0][1]
        self._bands: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        return [shapes[0]]

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
            channel = torch.arange(self._channels)
            near = (channel[:, None] - channel).abs() <= param.local_size // 2
            self._bands[key] = (near * (param.alpha / param.local_size)).to(images)
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
