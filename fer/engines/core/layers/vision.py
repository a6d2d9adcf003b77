"""Convolution, Deconvolution and Im2col over one, two or three spatial axes."""

import math

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.engines.core.layers.windows import Window, convolution_window


class Sliding(Layer):
    """A window slides over every bottom: `axis` holds the channels, what follows is space, what precedes is batch."""

    axis: int
    window: Window

    def measure(self, shapes: list[Shape]) -> tuple[int, Shape]:
        """Sets axis and window; channels and spatial size, which all bottoms must share."""
        if not shapes or len(shapes) != len(self.param.top):
            self.fail(f"takes one bottom for each top, not {len(shapes)} for {len(self.param.top)}")
        self.axis = self.axis_of(self.param.convolution_param.axis, shapes[0])
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


class Convolution(Sliding):
    """num_output filters; blobs: weights [num_output, channels / group, *kernel] and bias [num_output]."""

    transposed = False

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.convolution_param
        self.learn(param.weight_filler, self._weight_shape(shapes[0][self.axis]))
        if param.bias_term:
            self.learn(param.bias_filler, (param.num_output,))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        channels, size = self.measure(shapes)
        param = self.param.convolution_param
        if not param.num_output:
            self.fail("num_output must be 1 or more")
        if not param.group or channels % param.group or param.num_output % param.group:
            self.fail(f"{channels} channels in and {param.num_output} out do not divide into {param.group} groups")
        if self.blobs and self.blob_shape(0) != self._weight_shape(channels):
            self.fail(f"its weights are {self.blob_shape(0)}, which do not fit {channels} channels")
        return [(*shapes[0][: self.axis], param.num_output, *self.out_size(size))] * len(shapes)

    def _weight_shape(self, channels: int) -> Shape:
        param = self.param.convolution_param
        ends = (channels, param.num_output) if self.transposed else (param.num_output, channels)
        return (ends[0], ends[1] // param.group, *self.window.kernel)

    def out_size(self, size: Shape) -> Shape:
        return self.slides(size)


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


class Im2col(Sliding):
    """Every window laid out as a column: [*batch, channels * kernel size, *places]."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        channels, size = self.measure(shapes)
        columns = channels * math.prod(self.window.kernel)
        return [(*shapes[0][: self.axis], columns, *self.slides(size))]
