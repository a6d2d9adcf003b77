"""Convolutions that Keras' own do not cover: over any axes, dilated and strided, transposed and in groups."""

import math

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, nchw, nhwc, serializable


class Sliding(Own):
    """A window over the axes behind Caffe's `axis`, which holds the channels; a number for each of them."""

    axis: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    def _inside_out(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[rows, *space, channels], and the lengths of the axes before the channels."""
        x = nchw(x)
        batch = tf.shape(x)[: self.axis]
        axes = len(x.shape) - self.axis
        images = tf.reshape(x, (-1, *x.shape[self.axis :]))
        return tf.transpose(images, (0, *range(2, axes + 1), 1)), batch

    def _outside_in(self, images: Tensor, batch: Tensor) -> Tensor:
        axes = len(images.shape)
        first = tf.transpose(images, (0, axes - 1, *range(1, axes - 1)))
        return nhwc(tf.reshape(first, tf.concat([batch, first.shape[1:]], 0)))


@serializable
class GeneralConvolution(Sliding):
    """Weights [*kernel, channels / groups, filters]; transposed: [*kernel, filters / groups, channels]."""

    filters: int = 1
    groups: int = 1
    use_bias: bool = True
    transposed: bool = False
    channels: int = 1
    top_shape: tuple[int, ...] = ()
    """Of the channels' axis and those behind it, as Caffe has them."""

    def build(self, shape: Shape) -> None:
        ends = (self.filters, self.channels) if self.transposed else (self.channels, self.filters)
        kernel = (*self.kernel, ends[0] // self.groups, ends[1])
        self.weights_ = self.add_weight(shape=kernel, name="kernel", initializer="zeros")
        self.bias = self.add_weight(shape=(self.filters,), name="bias", initializer="zeros") if self.use_bias else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 4:
            return (*input_shape[: self.axis], *self.top_shape)
        shape = (input_shape[0], input_shape[3], *input_shape[1:3])
        top = (*shape[: self.axis], *self.top_shape)
        return (top[0], top[2], top[3], top[1])

    def call(self, x: Tensor) -> Tensor:
        images, batch = self._inside_out(x)
        kernel = _dilated(tf.convert_to_tensor(self.weights_), self.dilation)
        extents = kernel.shape[: len(self.kernel)]
        stride = self.stride
        if self.transposed:
            # Zeros between the pixels, the kernel turned round: a plain convolution.
            images = _spaced(images, stride)
            frame = [extent - 1 - pad for extent, pad in zip(extents, self.pad, strict=True)]
            kernel = tf.reverse(kernel, list(range(len(extents))))
            stride = (1,) * len(extents)
        else:
            frame = list(self.pad)
        out = self._convolve(_padded(images, frame), kernel, stride)
        return self._outside_in(out if self.bias is None else out + self.bias, batch)

    def _convolve(self, images: Tensor, kernel: Tensor, stride: tuple[int, ...]) -> Tensor:
        parts = []
        inputs, kernels = tf.split(images, self.groups, -1), tf.split(kernel, self.groups, -1)
        for part, weights in zip(inputs, kernels, strict=True):
            if self.transposed:
                weights = tf.linalg.matrix_transpose(weights)
            layout = {1: "NWC", 2: "NHWC", 3: "NDHWC"}[len(stride)]
            parts.append(tf.nn.convolution(part, weights, stride, "VALID", layout))
        return tf.concat(parts, -1)


def _dilated(kernel: Tensor, dilation: tuple[int, ...]) -> Tensor:
    return _spaced(kernel[None], dilation)[0]


def _spaced(images: Tensor, stride: tuple[int, ...]) -> Tensor:
    """[N, *space, ...] with stride - 1 zeros between the neighbours along each axis of space."""
    for axis, step in enumerate(stride, 1):
        if step > 1:
            shape = images.shape
            apart = tf.expand_dims(images, axis + 1)
            frame = [(0, 0)] * len(apart.shape)
            frame[axis + 1] = (0, step - 1)
            joined = tf.reshape(tf.pad(apart, frame), (-1, *shape[1:axis], shape[axis] * step, *shape[axis + 1 :]))
            images = joined[(slice(None),) * axis + (slice(0, (shape[axis] - 1) * step + 1),)]
    return images


def _padded(images: Tensor, frame: list[int]) -> Tensor:
    """Zeros around the space of the images; a negative number cuts instead."""
    cut = tuple(slice(-pad, pad) if pad < 0 else slice(None) for pad in frame)
    images = images[(slice(None), *cut)]
    return tf.pad(images, [(0, 0), *((max(pad, 0),) * 2 for pad in frame), (0, 0)]) if any(frame) else images


@serializable
class Im2col(Sliding):
    """Every window laid out as a column: [*batch, channels * kernel size, *places]."""

    def _places(self, size: tuple[int, ...]) -> tuple[int, ...]:
        ways = zip(size, self.pad, self.kernel, self.dilation, self.stride, strict=True)
        return tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, p, k, d, s in ways)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = (input_shape[0], input_shape[3], *input_shape[1:3]) if len(input_shape) == 4 else tuple(input_shape)
        channels, *size = shape[self.axis :]
        top = (*shape[: self.axis], channels * math.prod(self.kernel), *self._places(tuple(size)))
        return (top[0], top[2], top[3], top[1]) if len(top) == 4 else top

    def call(self, x: Tensor) -> Tensor:
        images, batch = self._inside_out(x)
        places = self._places(tuple(images.shape[1:-1]))
        framed = _padded(images, list(self.pad))
        columns = []
        for number in range(math.prod(self.kernel)):
            cuts = [slice(None)]
            for k, s, d, count in reversed(list(zip(self.kernel, self.stride, self.dilation, places, strict=True))):
                number, offset = divmod(number, k)
                cuts.insert(1, slice(offset * d, offset * d + (count - 1) * s + 1, s))
            columns.append(framed[tuple(cuts)])
        stacked = tf.stack(columns, -1)  # [rows, *places, channels, kernel]
        joined = tf.reshape(stacked, (-1, *places, images.shape[-1] * len(columns)))
        return self._outside_in(joined, batch)
