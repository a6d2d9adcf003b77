"""Layers that move numbers about and change none."""

import math

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.labels import class_index
from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, caffes, nchw, nhwc, our_axis, ours, serializable


@serializable
class Slice(Own):
    """The bottom cut along Caffe's `axis` into pieces of these lengths."""

    axis: int = 1
    sizes: tuple[int, ...] = ()

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        at = our_axis(self.axis, len(input_shape))
        return [(*input_shape[:at], size, *input_shape[at + 1 :]) for size in self.sizes]

    def call(self, x: Tensor) -> list[Tensor]:
        pieces: list[Tensor] = tf.split(x, self.sizes, our_axis(self.axis, len(x.shape)))
        return pieces


@serializable
class BatchConcat(Own):
    """The bottoms' items behind one another."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        items = [shape[0] for shape in input_shape]
        return (None if None in items else sum(items), *input_shape[0][1:])

    def call(self, bottoms: list[Tensor]) -> Tensor:
        return tf.concat(bottoms, 0)


@serializable
class CaffeReshape(Own):
    """The numbers, in the order that Caffe has them in, in another shape (Caffe's; one length may be -1)."""

    shape: tuple[int, ...] = ()

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if None in input_shape or -1 not in self.shape:
            return ours([None if length == -1 else length for length in self.shape])
        known = -math.prod(self.shape)
        return ours([math.prod(input_shape) // known if length == -1 else length for length in self.shape])

    def call(self, x: Tensor) -> Tensor:
        return nhwc(tf.reshape(nchw(x), self.shape))


@serializable
class Crop(Own):
    """A cut of these sizes at these offsets, for each of Caffe's axes; -1: all of it. A second bottom is not used."""

    offsets: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = caffes(input_shape)
        return ours([length if size == -1 else size for length, size in zip(shape, self.sizes, strict=True)])

    def call(self, x: Tensor) -> Tensor:
        cuts = zip(self.offsets, self.sizes, strict=True)
        slices = [slice(None) if size == -1 else slice(offset, offset + size) for offset, size in cuts]
        return x[tuple(ours(slices))]


@serializable
class Tile(Own):
    """The bottom `tiles` times along Caffe's `axis`."""

    tiles: int = 1
    axis: int = 1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        at = our_axis(self.axis, len(input_shape))
        length = input_shape[at]
        return (*input_shape[:at], length and length * self.tiles, *input_shape[at + 1 :])

    def call(self, x: Tensor) -> Tensor:
        at = our_axis(self.axis, len(x.shape))
        return tf.tile(x, [self.tiles if axis == at else 1 for axis in range(len(x.shape))])


@serializable
class BatchReindex(Own):
    """`items` items of the first bottom in the order (and as often) as the second, a list of indices, names them."""

    items: int = 1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[1], *input_shape[0][1:])

    def call(self, bottoms: list[Tensor]) -> Tensor:
        index, counted = class_index(self, bottoms[1], self.items, what="index")
        weight = tf.reshape(counted, (-1, *[1] * (len(bottoms[0].shape) - 1)))
        return tf.gather(bottoms[0], index) * tf.cast(weight, bottoms[0].dtype)


@serializable
class Filter(Own):
    """Of every bottom but the last, the items for which the last one, the selector, is not 0."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return [(None, *shape[1:]) for shape in input_shape[:-1]]

    def call(self, bottoms: list[Tensor]) -> list[Tensor]:
        chosen = tf.reshape(tf.where(tf.reshape(bottoms[-1], (-1,)) != 0), (-1,))
        return [tf.gather(bottom, chosen) for bottom in bottoms[:-1]]
