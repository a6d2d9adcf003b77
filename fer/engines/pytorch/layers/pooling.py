"""Pooling by Caffe's rule (sizes round up, the last window begins inside), and the pyramid made of it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.pytorch.layers.parts import expect_bottoms
from fer.engines.pytorch.layers.windows import Window, pooling_window
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.nets.shapes import pooled_size
from fer.schema import caffe_pb2

_Method = caffe_pb2.PoolingParameter


class _Pool:
    """One pooling window over images of one size."""

    def __init__(self, layer: Layer, param: caffe_pb2.PoolingParameter, size: Shape):
        self.layer, self.method, self.size = layer, param.pool, size
        self.window: Window = pooling_window(layer, param, size)
        self.whole = param.global_pooling
        self.rounds_up = param.round_mode == _Method.CEIL
        if self.method == _Method.STOCHASTIC and any(self.window.pad):
            layer.fail("STOCHASTIC pooling takes no pad")
        self.out = pooled_size(size, self.window.kernel, self.window.stride, self.window.pad, up=self.rounds_up)
        if min(self.out) < 1:
            layer.fail(f"a window of {self.window.kernel} does not fit an image of {size} with pad {self.window.pad}")
        self.stock = self._is_stock()
        self._areas: Tensor | None = None

    def _is_stock(self) -> bool:
        """Whether torch's own rule gives these places: it clips without padding too, and pads half a kernel at most."""
        window = self.window
        return all(
            2 * window.pad[i] <= window.kernel[i]
            and (self.out[i] - 1) * window.stride[i] < self.size[i] + window.pad[i]
            for i in range(2)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, *out]."""
        if self.method == _Method.MAX:
            return self.maximum(images)
        return self.average(images) if self.method == _Method.AVE else self.stochastic(images)

    def maximum(self, images: Tensor) -> Tensor:
        window = self.window
        if self.stock:
            return F.max_pool2d(images, window.kernel, window.stride, window.pad, ceil_mode=self.rounds_up)
        return F.max_pool2d(self._framed(images, torch.finfo(images.dtype).min), window.kernel, window.stride)

    def maximum_with_mask(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maxima, and where each lies in its image: row * width + column, -1 for a window without a pixel."""
        window = self.window
        framed = self._framed(images, torch.finfo(images.dtype).min)
        top, index = F.max_pool2d(framed, window.kernel, window.stride, return_indices=True)
        rows, columns = (
            torch.div(index, framed.shape[3], rounding_mode="floor") - window.pad[0],
            torch.remainder(index, framed.shape[3]) - window.pad[1],
        )
        inside = (rows >= 0) & (rows < self.size[0]) & (columns >= 0) & (columns < self.size[1])
        mask = torch.where(inside, rows * self.size[1] + columns, -1)
        return top, mask.to(images.dtype)

    def average(self, images: Tensor) -> Tensor:
        """Sums over each window, divided by its area clipped to the padded image."""
        window = self.window
        if self.whole:
            return F.adaptive_avg_pool2d(images, 1)
        if self.stock:
            return F.avg_pool2d(images, window.kernel, window.stride, window.pad, ceil_mode=self.rounds_up)
        sums = F.avg_pool2d(self._framed(images, 0), window.kernel, window.stride, divisor_override=1)
        if self._areas is None or self._areas.device != sums.device or self._areas.dtype != sums.dtype:
            self._areas = torch.outer(self._lengths(0), self._lengths(1)).to(sums)
        return sums / self._areas

    def _lengths(self, i: int) -> Tensor:
        window = self.window
        starts = torch.arange(self.out[i]) * window.stride[i] - window.pad[i]
        return torch.clamp(starts + window.kernel[i], max=self.size[i] + window.pad[i]) - starts

    def stochastic(self, images: Tensor) -> Tensor:
        """In training one pixel of each window, drawn by its share of the sum; in testing the mean by those shares."""
        window = self.window
        framed = self._framed(images, 0)
        cells = framed.unfold(2, window.kernel[0], window.stride[0]).unfold(3, window.kernel[1], window.stride[1])
        cells = cells.flatten(-2)
        if not self.layer.context.training:
            tiny = torch.finfo(images.dtype).tiny
            return cells.square().sum(-1) / (cells.sum(-1) + tiny)
        sums = cells.detach().cumsum(-1)
        generator = self.layer.context.seeds.generator(f"{self.layer.param.name}/pool")
        threshold = torch.empty_like(sums[..., :1]).uniform_(generator=generator) * sums[..., -1:]
        # Caffe leaves the last pixel where rounding lets no sum reach the threshold.
        chosen = (sums < threshold).sum(-1, keepdim=True).clamp_(max=cells.shape[-1] - 1)
        return cells.gather(-1, chosen).squeeze(-1)

    def _framed(self, images: Tensor, value: float) -> Tensor:
        """The images padded (or cut) to exactly what the windows cover."""
        frame: list[int] = []
        for i in (1, 0):
            covered = (self.out[i] - 1) * self.window.stride[i] + self.window.kernel[i]
            frame += [self.window.pad[i], covered - self.size[i] - self.window.pad[i]]
        return F.pad(images, frame, value=value)


@register("Pooling")
class Pooling(Layer):
    """MAX (a second top: where each maximum lies), AVE or STOCHASTIC."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        self.pool = _Pool(self, self.param.pooling_param, shapes[0][2:])
        if len(self.param.top) > (2 if self.pool.method == _Method.MAX else 1):
            self.fail(f"makes {'two tops at most' if self.pool.method == _Method.MAX else 'one top'}")
        return [(*shapes[0][:2], *self.pool.out)] * max(len(self.param.top), 1)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return self.pool.maximum_with_mask(bottoms[0]) if len(self.param.top) == 2 else (self.pool(bottoms[0]),)


@register("SPP")
class SPP(Layer):
    """Spatial pyramid: level i pools the whole image into 2^i by 2^i cells; the levels stand behind one another."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        if len(shapes[0]) != 4:
            self.fail(f"needs images (batch, channels, height, width), not {shapes[0]}")
        batch, channels, *size = shapes[0]
        if not 1 <= self.param.spp_param.pyramid_height <= 16:
            self.fail("pyramid_height must be 1 to 16")
        levels = range(self.param.spp_param.pyramid_height)
        self.pools = [_Pool(self, self._level(level, size), tuple(size)) for level in levels]
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

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        levels = [pool(bottoms[0]) for pool in self.pools]
        return (levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1),)
