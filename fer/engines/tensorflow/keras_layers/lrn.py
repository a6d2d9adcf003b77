"""Local response normalisation."""

from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, serializable


@serializable
class LRN(Own):
    """x * s^-beta with s = k + alpha / n * (sum of squares over n channels), or s = 1 + alpha * (mean over n x n)."""

    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    within_channel: bool = False

    def build(self, shape: Shape) -> None:
        channel = np.arange(shape[-1])
        near = np.abs(channel[:, None] - channel) <= self.local_size // 2
        self._band = (near * (self.alpha / self.local_size)).astype(np.float32)

    def call(self, images: Tensor) -> Tensor:
        if self.within_channel:
            return images * tf.pow(1 + self.alpha * self._mean_nearby(tf.square(images)), -self.beta)
        return self._across_channels(images)

    def _mean_nearby(self, squares: Tensor) -> Tensor:
        reach = self.local_size // 2
        framed = tf.pad(squares, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        return tf.nn.avg_pool2d(framed, self.local_size, 1, "VALID")

    def _across_channels(self, images: Tensor) -> Tensor:
        """The sum over a window of channels is a product with a banded matrix."""
        band, beta = tf.constant(self._band, images.dtype), self.beta

        @tf.custom_gradient
        def normalize(x: Tensor) -> Any:
            scale = self.k + _over_channels(x * x, band)  # TFLite's square is one of floats
            power = _power(scale, beta)

            def gradient(grad: Tensor) -> Tensor:
                direct = grad * power
                spread = _over_channels(direct * x / scale, band)
                return direct - 2 * beta * x * spread

            return x * power, gradient

        return normalize(images)


def _over_channels(images: Tensor, band: Tensor) -> Tensor:
    channels = band.shape[0]
    return tf.reshape(tf.matmul(tf.reshape(images, (-1, channels)), band), tf.shape(images))


def _power(scale: Tensor, beta: float) -> Tensor:
    """scale^-beta; roots are several times faster than a power, and this one TFLite has in integers."""
    if beta == 0.75:
        root = tf.math.rsqrt(scale)
        return root * root * tf.math.rsqrt(root)
    return tf.math.rsqrt(scale) if beta == 0.5 else tf.pow(scale, -beta)
