"""Pooling by Caffe's rule: sizes round up, and the last window may reach beyond the image."""

import keras
import numpy as np
import tensorflow as tf

from fer.engines.tensorflow.keras_layers.own import Own, Shape, Tensor, serializable


class Windows(Own):
    """`out` windows of `kernel`, `stride` apart, from `pad` before the image on: pairs (vertical, horizontal)."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    out: tuple[int, int] = (1, 1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.out, input_shape[3])

    def framed(self, images: Tensor, value: float) -> Tensor:
        """The images padded (or cut) to exactly what the windows cover."""
        kept, frame = self._cut(images)
        return tf.pad(kept, frame, constant_values=value) if any(map(any, frame)) else kept

    def _cut(self, images: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """What the windows cover of the images, and how far they reach beyond it, by axis."""
        behind = [
            (self.out[i] - 1) * self.stride[i] + self.kernel[i] - images.shape[1 + i] - self.pad[i] for i in range(2)
        ]
        kept = images[:, : images.shape[1] + min(behind[0], 0), : images.shape[2] + min(behind[1], 0)]
        return kept, [(0, 0), *((self.pad[i], max(behind[i], 0)) for i in range(2)), (0, 0)]


@serializable
class MaxPooling(Windows):
    """The largest number of each window; with_places: and where in the image it is, row * width + column."""

    with_places: bool = False

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        top = super().compute_output_shape(input_shape)
        return [top, top] if self.with_places else top

    def call(self, images: Tensor) -> Tensor:
        if not self.with_places:
            return tf.nn.max_pool2d(self._edged(images), self.kernel, self.stride, "VALID")
        framed = self.framed(images, images.dtype.min)
        top, index = tf.nn.max_pool_with_argmax(framed, self.kernel, self.stride, "VALID")
        place = index // framed.shape[3]
        rows, columns = place // framed.shape[2] - self.pad[0], place % framed.shape[2] - self.pad[1]
        height, width = images.shape[1:3]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        places = tf.where(inside, rows * width + columns, -1)
        return [top, tf.stop_gradient(tf.cast(places, top.dtype))]

    def _edged(self, images: Tensor) -> Tensor:
        """The images framed by their own edges, each of which is in every window that reaches beyond it.

        A frame of the least number would do, but leaves all others no room where numbers are quantized.
        """
        if any((self.out[i] - 1) * self.stride[i] - self.pad[i] >= images.shape[1 + i] for i in range(2)):
            return self.framed(images, images.dtype.min)  # a window wholly beyond
        kept, frame = self._cut(images)
        if any(frame[1]):
            kept = tf.concat([kept[:, :1]] * frame[1][0] + [kept] + [kept[:, -1:]] * frame[1][1], 1)
        if any(frame[2]):
            kept = tf.concat([kept[:, :, :1]] * frame[2][0] + [kept] + [kept[:, :, -1:]] * frame[2][1], 2)
        return kept


@serializable
class AveragePooling(Windows):
    """The sum of each window over its area, which is clipped to the padded image."""

    def call(self, images: Tensor) -> Tensor:
        means = tf.nn.avg_pool2d(self.framed(images, 0), self.kernel, self.stride, "VALID")
        shares = np.outer(self._shares(0, images.shape[1]), self._shares(1, images.shape[2]))
        return means if np.all(shares == 1) else means * tf.constant(shares[None, :, :, None], means.dtype)

    def _shares(self, i: int, size: int) -> np.ndarray:
        """By how much a window is longer than its clipped one."""
        starts = np.arange(self.out[i]) * self.stride[i] - self.pad[i]
        shares: np.ndarray = self.kernel[i] / (np.minimum(starts + self.kernel[i], size + self.pad[i]) - starts)
        return shares


@serializable
class StochasticPooling(Windows):
    """In training a number of each window, drawn by its share of the sum; in testing the mean by those shares."""

    def build(self, shape: Shape) -> None:
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        sizes, strides = [1, *self.kernel, 1], [1, *self.stride, 1]
        patches = tf.image.extract_patches(self.framed(images, 0), sizes, strides, [1, 1, 1, 1], "VALID")
        count = self.kernel[0] * self.kernel[1]
        cells = tf.reshape(patches, (-1, *self.out, count, images.shape[3]))
        if not training:
            return tf.reduce_sum(tf.square(cells), 3) / (tf.reduce_sum(cells, 3) + np.finfo(np.float32).tiny)
        sums = tf.cumsum(tf.stop_gradient(cells), 3)
        drawn = keras.random.uniform(tf.shape(sums[:, :, :, :1]), seed=self.seed_generator, dtype=sums.dtype)
        passed = tf.cast(sums < drawn * sums[:, :, :, -1:], tf.int32)
        # Caffe leaves the last number where rounding lets no sum reach what was drawn.
        chosen = tf.minimum(tf.reduce_sum(passed, 3), count - 1)
        return tf.reduce_sum(cells * tf.one_hot(chosen, count, axis=3, dtype=cells.dtype), 3)
