"""Layers that work on every number by itself."""

import math

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, serializable


@serializable
class SlopedReLU(Own):
    """max(x, 0) + negative_slope * min(x, 0), whatever the slope."""

    negative_slope: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        return tf.where(x > 0, x, x * self.negative_slope)


@serializable
class ChannelPReLU(Own):
    """max(x, 0) + slope * min(x, 0) with a learnt slope for each channel, or one for all (`shared`).

    Keras' own passes no gradient where x is 0; Caffe passes the slope's.
    """

    shared: bool = False

    def build(self, shape: Shape) -> None:
        channels = shape[-1] if len(shape) in (2, 4) else shape[1]
        self.slope = self.add_weight(shape=() if self.shared else (channels,), name="slope", initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        slope = tf.convert_to_tensor(self.slope)
        if not self.shared and len(x.shape) not in (2, 4):
            slope = tf.reshape(slope, (-1,) + (1,) * (len(x.shape) - 2))
        return tf.where(x > 0, x, slope * x)


@serializable
class Swish(Own):
    """x * sigmoid(beta * x)."""

    beta: float = 1.0

    def call(self, x: Tensor) -> Tensor:
        return x * tf.sigmoid(self.beta * x)


@serializable
class Clip(Own):
    """x, but no less than `low` and no more than `high`; its gradient passes from low to high, both included."""

    low: float = 0.0
    high: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        within = (x >= self.low) & (x <= self.high)
        return tf.where(within, x, tf.stop_gradient(tf.maximum(tf.minimum(x, self.high), self.low)))


@serializable
class Threshold(Own):
    """1 above the threshold, else 0; without a gradient."""

    threshold: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        return tf.cast(tf.stop_gradient(x) > self.threshold, x.dtype)


@serializable
class Power(Own):
    """(shift + scale * x)^power."""

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        if not self.power * self.scale:
            # A constant, inf and nan as C's pow gives them: Caffe passes no gradient, and takes 0^0 for 1.
            constant = tf.pow(tf.constant(self.shift, tf.float32), self.power) if self.power else 1.0
            return tf.fill(tf.shape(x), tf.cast(constant, x.dtype))
        line = x * self.scale + self.shift
        return line if self.power == 1 else tf.square(line) if self.power == 2 else tf.pow(line, self.power)


@serializable
class Exp(Own):
    """base^(shift + scale * x); base -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        return tf.exp((x * self.scale + self.shift) * (1.0 if self.base == -1 else math.log(self.base)))


@serializable
class Log(Own):
    """Logarithm of shift + scale * x to the base; -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0

    def call(self, x: Tensor) -> Tensor:
        return tf.math.log(x * self.scale + self.shift) / (1.0 if self.base == -1 else math.log(self.base))


@serializable
class AbsVal(Own):
    """The absolute value."""

    def call(self, x: Tensor) -> Tensor:
        return tf.abs(x)


@serializable
class StopGradient(Own):
    """The bottom, with no gradient down to it (`propagate_down: false`)."""

    def call(self, x: Tensor) -> Tensor:
        return tf.stop_gradient(x)
