"""Convolution, Deconvolution and Im2col over one, two or three spatial axes."""

import math

from torch import Tensor
from torch.nn import functional as F

from fer.engines.core.layers import vision as rules
from fer.engines.pytorch.registry import Layer, register

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Sliding(rules.Sliding, Layer):
    pass


@register("Convolution")
class Convolution(rules.Convolution, _Sliding):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._one(bottom) for bottom in bottoms)

    def _one(self, bottom: Tensor) -> Tensor:
        batch = bottom.shape[: self.axis]
        images = bottom if self.axis == 1 else bottom.reshape(math.prod(batch), *bottom.shape[self.axis :])
        out = self.convolve(images, self.blobs[0], self.blobs[1] if len(self.blobs) > 1 else None)
        return out if self.axis == 1 else out.reshape(*batch, *out.shape[1:])

    def convolve(self, images: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        window = self.window
        convolve = _CONVOLVE[len(window.kernel)]
        return convolve(
            images, weights, bias, window.stride, window.pad, window.dilation, self.param.convolution_param.group
        )


@register("Deconvolution")
class Deconvolution(rules.Deconvolution, Convolution):
    def convolve(self, images: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        window = self.window
        convolve = _TRANSPOSED[len(window.kernel)]
        group = self.param.convolution_param.group
        return convolve(images, weights, bias, window.stride, window.pad, 0, group, window.dilation)


@register("Im2col")
class Im2col(rules.Im2col, _Sliding):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        window, axes = self.window, len(self.window.kernel)
        out = F.pad(bottoms[0], [pad for side in reversed(window.pad) for pad in (side, side)])
        for i, (extent, stride, dilation) in enumerate(zip(window.extent, window.stride, window.dilation, strict=True)):
            out = out.unfold(self.axis + 1 + i, extent, stride)[..., ::dilation]
        places, kernels = range(self.axis + 1, self.axis + 1 + axes), range(self.axis + 1 + axes, out.dim())
        out = out.permute(*range(self.axis + 1), *kernels, *places)
        batch, size = out.shape[: self.axis], out.shape[-axes:]
        return (out.reshape(*batch, -1, *size),)
