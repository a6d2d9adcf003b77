"""Convolution, Deconvolution and Im2col over one, two or three spatial axes."""

import math

from torch import Tensor
from torch.nn import functional as F

from fer.engines.pytorch.layers.parts import axis_of, learnable
from fer.engines.pytorch.layers.windows import Window, convolution_window
from fer.engines.pytorch.registry import Layer, Shape, register

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Sliding(Layer):
    """A window slides over every bottom: `axis` holds the channels, what follows is space, what precedes is batch."""

    axis: int
    window: Window

    def measure(self, shapes: list[Shape]) -> tuple[int, Shape]:
        """Sets axis and window; channels and spatial size, which all bottoms must share."""
        if not shapes or len(shapes) != len(self.param.top):
            self.fail(f"takes one bottom for each top, not {len(shapes)} for {len(self.param.top)}")
        self.axis = axis_of(self, self.param.convolution_param.axis, shapes[0])
        if any(shape != shapes[0] for shape in shapes):
            self.fail(f"its bottoms differ in shape: {shapes}")
        channels, *size = shapes[0][self.axis :]
        if not 1 <= len(size) <= 3:
            self.fail(f"works on one to three spatial axes, not on {len(size)} (bottom {shapes[0]}, axis {self.axis})")
        self.window = convolution_window(self, len(size))
        return channels, tuple(size)

    def slides(self, size: Shape) -> Shape:
        """How many places the window has along each axis."""
        window = self.window
        places = tuple(
            (n + 2 * pad - extent) // stride + 1
            for n, pad, extent, stride in zip(size, window.pad, window.extent, window.stride, strict=True)
        )
        if min(places) < 1:
            self.fail(f"a kernel of {window.extent} does not fit an image of {size} with pad {window.pad}")
        return places


@register("Convolution")
class Convolution(_Sliding):
    """num_output filters; blobs: weights [num_output, channels / group, *kernel] and bias [num_output]."""

    transposed = False

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.convolution_param
        self.blobs = [learnable(self, param.weight_filler, self._weight_shape(shapes[0][self.axis]))]
        if param.bias_term:
            self.blobs.append(learnable(self, param.bias_filler, (param.num_output,)))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        channels, size = self.measure(shapes)
        param = self.param.convolution_param
        if not param.num_output:
            self.fail("num_output must be 1 or more")
        if not param.group or channels % param.group or param.num_output % param.group:
            self.fail(f"{channels} channels in and {param.num_output} out do not divide into {param.group} groups")
        if self.blobs and tuple(self.blobs[0].shape) != self._weight_shape(channels):
            self.fail(f"its weights are {tuple(self.blobs[0].shape)}, which do not fit {channels} channels")
        return [(*shapes[0][: self.axis], param.num_output, *self.out_size(size))] * len(shapes)

    def _weight_shape(self, channels: int) -> Shape:
        param = self.param.convolution_param
        ends = (channels, param.num_output) if self.transposed else (param.num_output, channels)
        return (ends[0], ends[1] // param.group, *self.window.kernel)

    def out_size(self, size: Shape) -> Shape:
        return self.slides(size)

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
class Deconvolution(Convolution):
    """A Convolution run backwards; weights [channels, num_output / group, *kernel]."""

    transposed = True

    def out_size(self, size: Shape) -> Shape:
        window = self.window
        out = tuple(
            stride * (n - 1) + extent - 2 * pad
            for n, pad, extent, stride in zip(size, window.pad, window.extent, window.stride, strict=True)
        )
        if min(out) < 1:
            self.fail(f"nothing is left of an image of {size} after pad {window.pad}")
        return out

    def convolve(self, images: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        window = self.window
        convolve = _TRANSPOSED[len(window.kernel)]
        group = self.param.convolution_param.group
        return convolve(images, weights, bias, window.stride, window.pad, 0, group, window.dilation)


@register("Im2col")
class Im2col(_Sliding):
    """Every window laid out as a column: [*batch, channels * kernel size, *places]."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        channels, size = self.measure(shapes)
        columns = channels * math.prod(self.window.kernel)
        return [(*shapes[0][: self.axis], columns, *self.slides(size))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        window, axes = self.window, len(self.window.kernel)
        out = F.pad(bottoms[0], [pad for side in reversed(window.pad) for pad in (side, side)])
        for i, (extent, stride, dilation) in enumerate(zip(window.extent, window.stride, window.dilation, strict=True)):
            out = out.unfold(self.axis + 1 + i, extent, stride)[..., ::dilation]
        places, kernels = range(self.axis + 1, self.axis + 1 + axes), range(self.axis + 1 + axes, out.dim())
        out = out.permute(*range(self.axis + 1), *kernels, *places)
        batch, size = out.shape[: self.axis], out.shape[-axes:]
        return (out.reshape(*batch, -1, *size),)
