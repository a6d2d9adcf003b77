"""Layers that move numbers about and change none."""

import torch
from torch import Tensor

from fer.engines.core.layers import shape as rules
from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.registry import Layer, register


@register("Concat")
class Concat(rules.Concat, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (torch.cat(bottoms, self.axis) if len(bottoms) > 1 else bottoms[0],)


@register("Slice")
class Slice(rules.Slice, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        tops: tuple[Tensor, ...] = bottoms[0].split(self.sizes, self.axis)
        return tops


@register("Split")
class Split(rules.Split, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0],) * len(self.param.top)


class _Reshaping(rules.Reshaping, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].reshape(self.top_shape),)


@register("Flatten")
class Flatten(rules.Flatten, _Reshaping):
    pass


@register("Reshape")
class Reshape(rules.Reshape, _Reshaping):
    pass


@register("Crop")
class Crop(rules.Crop, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0][self.cuts],)


@register("Tile")
class Tile(rules.Tile, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].repeat(self.times),)


@register("BatchReindex")
class BatchReindex(rules.BatchReindex, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = class_index(self, bottoms[1], *self.index_range(), what="index")
        top = bottoms[0].index_select(0, index)
        if counted is not None:
            top = top * counted.to(top.dtype).reshape(-1, *[1] * (top.dim() - 1))
        return (top,)


@register("Filter")
class Filter(rules.Filter, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        chosen = bottoms[-1].detach().reshape(-1).nonzero().reshape(-1)
        return tuple(bottom.index_select(0, chosen) for bottom in bottoms[:-1])


@register("Silence")
class Silence(rules.Silence, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()
