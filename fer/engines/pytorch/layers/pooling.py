"""Pooling by Caffe's rule (sizes round up, the last window begins inside), and the pyramid made of it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.core.layers import pooling as rules
from fer.engines.core.layers.pooling import METHOD
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2


class _Pool(rules.Pool):
    """A window over images of one size, in torch's operations."""

    layer: Layer

    def __init__(self, layer: Layer, param: caffe_pb2.PoolingParameter, size: Shape):
        super().__init__(layer, param, size)
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
        if self.method == METHOD.MAX:
            return self.maximum(images)
        return self.average(images) if self.method == METHOD.AVE else self.stochastic(images)

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
            self._areas = torch.from_numpy(self.areas()).to(sums)
        return sums / self._areas

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
        frame = [length for side in reversed(self.frame) for length in side]
        return F.pad(images, frame, value=value)


class _Pools(rules.Pools, Layer):
    def make_pool(self, param: caffe_pb2.PoolingParameter, size: Shape) -> _Pool:
        return _Pool(self, param, size)


@register("Pooling")
class Pooling(rules.Pooling, _Pools):
    pool: _Pool

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return self.pool.maximum_with_mask(bottoms[0]) if len(self.param.top) == 2 else (self.pool(bottoms[0]),)


@register("SPP")
class SPP(rules.SPP, _Pools):
    pools: Sequence[_Pool]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        levels = [pool(bottoms[0]) for pool in self.pools]
        return (levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1),)
