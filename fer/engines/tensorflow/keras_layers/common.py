"""Layers that combine or reduce numbers, and those that hold a table of them."""

from functools import reduce

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.labels import class_index
from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, serializable


@serializable
class Embed(Own):
    """Row `bottom` of the weights [input_dim, num_output], plus a bias [num_output]."""

    input_dim: int = 1
    num_output: int = 1
    use_bias: bool = True

    def build(self, shape: Shape) -> None:
        self.table = self.add_weight(shape=(self.input_dim, self.num_output), name="table", initializer="zeros")
        bias = (self.num_output,)
        self.bias = self.add_weight(shape=bias, name="bias", initializer="zeros") if self.use_bias else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.num_output)

    def call(self, indices: Tensor) -> Tensor:
        index, counted = class_index(self, indices, self.input_dim, what="index")
        top = tf.gather(tf.convert_to_tensor(self.table), index) * counted[..., None]
        return top if self.bias is None else top + self.bias


@serializable
class Parameter(Own):
    """A learnt blob as a top; the bottom is not looked at, which Keras needs."""

    shape: tuple[int, ...] = ()

    def build(self, shape: Shape) -> None:
        self.value = self.add_weight(shape=self.shape, name="value", initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(self.shape)

    def call(self, _: Tensor) -> Tensor:
        return tf.convert_to_tensor(self.value)


@serializable
class WeightedSum(Own):
    """The sum of the bottoms, each times its coefficient."""

    coefficients: tuple[float, ...] = ()

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def call(self, bottoms: list[Tensor]) -> Tensor:
        return tf.add_n([x if c == 1 else x * c for x, c in zip(bottoms, self.coefficients, strict=True)])


@serializable
class Largest(Own):
    """The maximum of the bottoms: on a tie the second of the first two, and the earlier one from there on."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def call(self, bottoms: list[Tensor]) -> Tensor:
        top = tf.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
        return reduce(lambda so_far, bottom: tf.where(bottom > so_far, bottom, so_far), bottoms[2:], top)


@serializable
class Reduction(Own):
    """coeff times the sum, sum of absolute values, of squares, or the mean over all axes from `axis` on."""

    operation: str = "SUM"
    axis: int = 0
    coeff: float = 1.0

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape[: self.axis])

    def call(self, x: Tensor) -> Tensor:
        axes = list(range(self.axis, len(x.shape)))
        x = {"ASUM": tf.abs, "SUMSQ": tf.square}.get(self.operation, tf.identity)(x)
        top = tf.reduce_mean(x, axes) if self.operation == "MEAN" else tf.reduce_sum(x, axes)
        return top * self.coeff if self.coeff != 1 else top


@serializable
class ArgMax(Own):
    """The top_k largest numbers' places, as floats; of equal numbers the last comes first, as in Caffe."""

    top_k: int = 1
    out_max_val: bool = False
    axis: int | None = None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.axis is not None:
            return (*input_shape[: self.axis], self.top_k, *input_shape[self.axis + 1 :])
        return (input_shape[0], 2 if self.out_max_val else 1, self.top_k, *[1] * (len(input_shape) - 3))

    def call(self, x: Tensor) -> Tensor:
        x = tf.stop_gradient(x)
        shape = self.compute_output_shape(tuple(x.shape))
        axis = 1 if self.axis is None else self.axis
        rows = tf.reshape(x, (tf.shape(x)[0], -1)) if self.axis is None else x
        last = tf.reverse(rows, [axis])
        order = tf.argsort(last, axis, "DESCENDING", stable=True)
        order = tf.gather(order, tf.range(self.top_k), axis=axis)
        values = tf.experimental.numpy.take_along_axis(last, order, axis)
        places = tf.cast(tf.shape(last)[axis] - 1 - order, x.dtype)
        if self.axis is not None:
            return values if self.out_max_val else places
        top = tf.stack([places, values], 1) if self.out_max_val else places
        return tf.reshape(top, (-1, *shape[1:]))
