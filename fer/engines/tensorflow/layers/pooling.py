"""Pooling by Caffe's rule, and the pyramid made of it."""

import keras

from fer.engines.core.layers import pooling as rules
from fer.engines.core.layers.pooling import METHOD, Pool
from fer.engines.tensorflow.keras_layers import pooling as own
from fer.engines.tensorflow.keras_layers.shape import CaffeReshape
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


def _stock(pool: Pool) -> str | None:
    """Keras' padding that gives the same windows: "valid", "same", or none of its own.

    Where the frame is cut or an average divides by padding, neither does.
    """
    if not any(map(any, pool.frame)):
        return "valid"
    same = []
    for n, kernel, stride, out in zip(pool.size, pool.window.kernel, pool.window.stride, pool.out, strict=True):
        places = -(-n // stride)
        total = max((places - 1) * stride + kernel - n, 0)
        same.append((out == places, (total // 2, total - total // 2)))
    padded_mean = pool.method == METHOD.AVE and any(pool.window.pad)
    fits = all(places for places, _ in same) and [frame for _, frame in same] == pool.frame
    return "same" if fits and not padded_mean else None


def wire_pool(
    wiring: Wiring, layer: Layer, pool: Pool, images: Tensor, name: str, places: bool = False
) -> list[Tensor]:
    """The tops of one window."""
    common = {"name": wiring.name(name), "dtype": wiring.policy}
    window, padding = pool.window, _stock(pool)
    windows = {"kernel": window.kernel, "stride": window.stride, "pad": window.pad, "out": pool.out}
    if pool.method == METHOD.STOCHASTIC:
        made = own.StochasticPooling(**windows, **common)
        top = wiring.call(made, layer, images, drops=True)
        wiring.draws(made, f"{layer.param.name}/pool")
        return [top]
    if pool.method == METHOD.MAX:
        if padding and not places:
            return [keras.layers.MaxPooling2D(window.kernel, window.stride, padding, **common)(images)]
        made = own.MaxPooling(**windows, with_places=places, **common)(images)
        return list(made) if places else [made]
    if pool.whole:
        return [keras.layers.GlobalAveragePooling2D(keepdims=True, **common)(images)]
    if padding:
        return [keras.layers.AveragePooling2D(window.kernel, window.stride, padding, **common)(images)]
    return [own.AveragePooling(**windows, **common)(images)]


@register("Pooling")
class Pooling(rules.Pooling, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        places = len(self.param.top) == 2
        return tuple(wire_pool(wiring, self, self.pool, bottoms[0], self.param.name, places))


@register("SPP")
class SPP(rules.SPP, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        name = self.param.name
        levels = [wire_pool(wiring, self, pool, bottoms[0], f"{name}.{i}")[0] for i, pool in enumerate(self.pools)]
        if len(levels) == 1:
            return (levels[0],)
        flat = [
            CaffeReshape(
                shape=(-1, level.shape[1] * level.shape[2] * level.shape[3]),
                name=wiring.name(f"{name}.{i}.flat"),
                dtype=wiring.policy,
            )(level)
            for i, level in enumerate(levels)
        ]
        return (keras.layers.Concatenate(1, name=wiring.name(name), dtype=wiring.policy)(flat),)
