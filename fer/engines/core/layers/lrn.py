"""Local response normalisation."""

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.schema import caffe_pb2


class LRN(Layer):
    """x * s^-beta with s = k + alpha / n * (sum of squares over n channels), or s = 1 + alpha * (mean over n x n)."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param = self.param.lrn_param
        if param.local_size % 2 == 0:
            self.fail(f"local_size must be odd, not {param.local_size}")
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        self.across = param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS
        self._channels = shapes[0][1]
        return [shapes[0]]

    def band(self) -> np.ndarray:
        """bool [C, C]: whether two channels lie in one window."""
        channel = np.arange(self._channels)
        near: np.ndarray = abs(channel[:, None] - channel) <= self.param.lrn_param.local_size // 2
        return near
