"""Pooling by Caffe's rule (sizes round up, the last window begins inside), and the pyramid made of it."""

from collections.abc import Sequence

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.engines.core.layers.windows import Window, pooling_window
from fer.nets.shapes import pooled_size
from fer.schema import caffe_pb2

METHOD = caffe_pb2.PoolingParameter


class Pool:
    """One pooling window over images of one size."""

    def __init__(self, layer: Layer, param: caffe_pb2.PoolingParameter, size: Shape):
        self.layer, self.method, self.size = layer, param.pool, size
        self.window: Window = pooling_window(layer, param, size)
        self.whole = param.global_pooling
        self.rounds_up = param.round_mode == METHOD.CEIL
        if self.method == METHOD.STOCHASTIC and any(self.window.pad):
            layer.fail("STOCHASTIC pooling takes no pad")
        self.out = pooled_size(size, self.window.kernel, self.window.stride, self.window.pad, up=self.rounds_up)
        if min(self.out) < 1:
            layer.fail(f"a window of {self.window.kernel} does not fit an image of {size} with pad {self.window.pad}")

    @property
    def frame(self) -> list[tuple[int, int]]:
        """(before, after) of each axis: padded by that (cut, where negative), an image is what the windows cover."""
        window = self.window
        places = zip(self.out, window.stride, window.kernel, strict=True)
        covered = [(n - 1) * stride + kernel for n, stride, kernel in places]
        return [(pad, all_of - n - pad) for pad, all_of, n in zip(window.pad, covered, self.size, strict=True)]

    def areas(self) -> np.ndarray:
        """int64 [*out]: how much of each window lies in the padded image."""
        return np.outer(self._lengths(0), self._lengths(1))

    def _lengths(self, i: int) -> np.ndarray:
        window = self.window
        starts = np.arange(self.out[i]) * window.stride[i] - window.pad[i]
        return np.minimum(starts + window.kernel[i], self.size[i] + window.pad[i]) - starts


class Pools(Layer):
    """Layers of pooling windows."""

    def make_pool(self, param: caffe_pb2.PoolingParameter, size: Shape) -> Pool:
        """A window over images of `size`; a framework's works on its images."""
        return Pool(self, param, size)


class Pooling(Pools):
    """MAX (a second top: where each maximum lies), AVE or STOCHASTIC."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        self.pool = self.make_pool(self.param.pooling_param, shapes[0][2:])
        if len(self.param.top) > (2 if self.pool.method == METHOD.MAX else 1):
            self.fail(f"makes {'two tops at most' if self.pool.method == METHOD.MAX else 'one top'}")
        return [(*shapes[0][:2], *self.pool.out)] * max(len(self.param.top), 1)


class SPP(Pools):
    """Spatial pyramid: level i pools the whole image into 2^i by 2^i cells; the levels stand behind one another."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        batch, channels, *size = shapes[0]
        if not 1 <= self.param.spp_param.pyramid_height <= 16:
            self.fail("pyramid_height must be 1 to 16")
        levels = range(self.param.spp_param.pyramid_height)
        self.pools: Sequence[Pool] = [self.make_pool(self._level(level, size), tuple(size)) for level in levels]
        if len(self.pools) == 1:
            return [(batch, channels, *self.pools[0].out)]
        return [(batch, channels * sum(pool.out[0] * pool.out[1] for pool in self.pools))]

    def _level(self, level: int, size: list[int]) -> caffe_pb2.PoolingParameter:
        kernel = [-(-n // 2**level) for n in size]
        pad = [(k * 2**level - n + 1) // 2 for k, n in zip(kernel, size, strict=True)]
        ways = {"kernel": kernel, "stride": kernel, "pad": pad}
        fields = {f"{name}_{side}": way[i] for name, way in ways.items() for i, side in enumerate("hw")}
        pool = caffe_pb2.SPPParameter.PoolMethod.Name(self.param.spp_param.pool)
        return caffe_pb2.PoolingParameter(pool=pool, **fields)
