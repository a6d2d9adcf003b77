"""Caffe's DataTransformer for whole batches in the graph: mean, scale, crop, mirror."""

import numpy as np
import tensorflow as tf

from fer.engines.core import transform as core
from fer.engines.core.framework import Shape
from fer.engines.tensorflow.context import Context
from fer.engines.tensorflow.layer import Tensor
from fer.schema import caffe_pb2


class Transform(core.Transform):
    """Of images [B, H, W, C] as they are stored, uint8 or float32."""

    def __init__(self, param: caffe_pb2.TransformationParameter, shape: Shape, context: Context):
        super().__init__(param, shape, context)
        self._mean = None if self.mean is None else np.ascontiguousarray(self.mean.transpose(1, 2, 0))
        self._moves = self._crop is not None and context.training

    @property
    def draws(self) -> bool:
        """Whether anything about it is left to chance."""
        return bool(self._moves or self._mirror)

    def __call__(self, images: Tensor, seed: Tensor | None = None) -> Tensor:
        """[B, h, w, C] float32. Offsets and mirrors are drawn from the seed, uint32 [2]."""
        images = self._normalise(images)
        top, left = (spare // 2 for spare in self._spare)
        if not self.draws:
            _, height, width = self.shape
            return images[:, top : top + height, left : left + width]
        return self._drawn(images, tf.bitcast(seed, tf.int32))

    def _normalise(self, images: Tensor) -> Tensor:
        result = tf.cast(images, tf.float32)
        if self._mean is not None:
            result = result - self._mean
        return result if self._scale == 1 else result * self._scale

    def _drawn(self, images: Tensor, seed: Tensor) -> Tensor:
        """Each image cropped at a place of its own, or in the centre, and mirrored or not."""
        _, height, width = self.shape
        count = tf.shape(images)[0]
        top, left = (tf.fill((count,), spare // 2) for spare in self._spare)
        if self._moves:
            top, left = (
                tf.random.stateless_uniform((count,), seed + np.array([0, i], np.int32), 0, spare + 1, tf.int32)
                for i, spare in enumerate(self._spare)
            )
        columns = tf.range(width)[None, :]
        if self._mirror:
            flips = tf.random.stateless_uniform((count, 1), seed + np.array([0, 2], np.int32), 0, 2, tf.int32)
            columns = tf.where(flips == 1, width - 1 - columns, columns)
        columns = tf.broadcast_to(columns + left[:, None], (count, width))
        if self._moves:
            images = tf.gather(images, tf.range(height)[None, :] + top[:, None], axis=1, batch_dims=1)
        else:
            images = images[:, self._spare[0] // 2 : self._spare[0] // 2 + height]
        return tf.gather(images, columns, axis=2, batch_dims=1)
