"""Augment: the Python layer of caffe/augment.py, with the same arithmetic on the device."""

import math

import keras
import tensorflow as tf

from fer.engines.caffe.augmentation import DRAWS, ELONGATION, ERASED
from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, serializable


@serializable
class Augment(Own):
    """Images turned, shifted, scaled, brightened and erased in part, each by its own draw; not in testing.

    What is drawn and what it does: caffe/augmentation.py. No gradient flows down.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase: float = 0.0

    def build(self, shape: Shape) -> None:
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training:
            return images
        images = tf.stop_gradient(images)
        count = tf.shape(images)[0]
        uniform = keras.random.uniform((count, DRAWS), seed=self.seed_generator, dtype="float32")
        noise = None
        if self.erase:
            noise = keras.random.normal(tf.shape(images), seed=self.seed_generator, dtype="float32")
        return self.apply(images, uniform, noise)

    def apply(self, images: Tensor, uniform: Tensor, noise: Tensor | None) -> Tensor:
        """The images changed by what was drawn: uniform numbers [N, DRAWS], and normal ones of the images' shape."""
        signed = 2 * uniform - 1
        if self.rotation or self.shift or self.scale:
            images = self._warp(images, signed)
        mean = tf.reduce_mean(images, (1, 2, 3), keepdims=True)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(images - mean), (1, 2, 3), keepdims=True))
        result = images
        if self.brightness or self.contrast:
            factor = 1 + self.contrast * signed[:, 5][:, None, None, None]
            light = self.brightness * signed[:, 4][:, None, None, None] * deviation
            result = images * factor + mean * (1 - factor) + light
        if noise is not None:
            result = tf.where(self._rectangles(uniform, images.shape[1:3]), mean + noise * deviation, result)
        return result

    def _warp(self, images: Tensor, signed: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        angle = math.radians(self.rotation) * signed[:, 0]
        size = tf.pow(1 + self.scale, signed[:, 3])
        cosine, sine = tf.cos(angle) / size, tf.sin(angle) / size
        left, top = (width - 1) / 2, (height - 1) / 2
        x, y = left + self.shift * width * signed[:, 1], top + self.shift * height * signed[:, 2]
        zero = tf.zeros_like(cosine)
        # Where the pixel of a column and a row comes from: cosine * (column - x) + sine * (row - y) + left, ...
        across = (cosine, sine, left - cosine * x - sine * y)
        down = (-sine, cosine, top + sine * x - cosine * y)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([*across, *down, zero, zero], 1),
            output_shape=(height, width),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )

    def _rectangles(self, uniform: Tensor, size: Shape) -> Tensor:
        """Which pixels are erased, bool [N, H, W, 1]."""
        height, width = size
        low, high = ERASED
        area = (low + (high - low) * uniform[:, 7]) * (height * width)
        ratio = tf.pow(float(ELONGATION), 2 * uniform[:, 8] - 1)
        chosen = tf.cast(uniform[:, 6] < self.erase, uniform.dtype)
        tall = tf.clip_by_value(tf.floor(tf.sqrt(area * ratio) + 0.5), 1, height) * chosen
        wide = tf.clip_by_value(tf.floor(tf.sqrt(area / ratio) + 0.5), 1, width)
        rows, columns = _within(height, tall, uniform[:, 10]), _within(width, wide, uniform[:, 9])
        return rows[:, :, None, None] & columns[:, None, :, None]


def _within(count: int, lengths: Tensor, where: Tensor) -> Tensor:
    """bool [N, count]: which places lie in a stretch that begins at the share `where` [N] of what `lengths` leave."""
    places = tf.range(count, dtype=lengths.dtype)
    first = tf.floor(where * (count - lengths + 1))[:, None]
    return (places >= first) & (places < first + lengths[:, None])
