"""Layers that move numbers about and change none."""

import keras

from fer.engines.core.framework import Shape
from fer.engines.core.layers import shape as rules
from fer.engines.tensorflow.keras_layers import shape as own
from fer.engines.tensorflow.keras_layers.own import our_axis
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


@register("Concat")
class Concat(rules.Concat, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if len(bottoms) == 1:
            return bottoms
        common = {"name": wiring.name(self.param.name), "dtype": wiring.policy}
        if self.axis == 0:
            return (own.BatchConcat(**common)(list(bottoms)),)
        axis = our_axis(self.axis, len(bottoms[0].shape))
        return (keras.layers.Concatenate(axis, **common)(list(bottoms)),)


@register("Slice")
class Slice(rules.Slice, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Slice(
            axis=self.axis, sizes=tuple(self.sizes), name=wiring.name(self.param.name), dtype=wiring.policy
        )
        return tuple(made(bottoms[0]))


@register("Split")
class Split(rules.Split, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return bottoms * len(self.param.top)


class _Reshaping(rules.Reshaping, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        bottom, top = self.bottom_shape, self.top_shape
        keeps = len(bottom) > 0 and len(top) > 0 and bottom[0] == top[0]  # its items, however many
        made = own.CaffeReshape(
            shape=(-1, *top[1:]) if keeps else top,
            name=wiring.name(self.param.name),
            dtype=wiring.policy_of(bottoms),
        )
        return (made(bottoms[0]),)

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.bottom_shape: Shape = shapes[0] if shapes else ()
        return super().reshape(shapes)


@register("Flatten")
class Flatten(_Reshaping, rules.Flatten):
    pass


@register("Reshape")
class Reshape(_Reshaping, rules.Reshape):
    pass


@register("Crop")
class Crop(rules.Crop, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Crop(
            offsets=tuple(cut.start or 0 for cut in self.cuts),
            sizes=tuple(-1 if cut.stop is None else cut.stop - cut.start for cut in self.cuts),
            name=wiring.name(self.param.name),
            dtype=wiring.policy,
        )
        return (made(bottoms[0]),)


@register("Tile")
class Tile(rules.Tile, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.tile_param
        axis = param.axis % len(bottoms[0].shape)
        made = own.Tile(tiles=param.tiles, axis=axis, name=wiring.name(self.param.name), dtype=wiring.policy)
        return (made(bottoms[0]),)


@register("BatchReindex")
class BatchReindex(rules.BatchReindex, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.BatchReindex(items=self.index_range()[0], name=wiring.name(self.param.name), dtype="float32")
        return (made(list(bottoms)),)


@register("Filter")
class Filter(rules.Filter, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Filter(name=wiring.name(self.param.name), dtype="float32")
        return tuple(made(list(bottoms)))


@register("Silence")
class Silence(rules.Silence, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()
