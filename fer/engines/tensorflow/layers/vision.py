"""Convolution, Deconvolution and Im2col over one, two or three spatial axes."""

from typing import Any

import keras

from fer.engines.core.layers import vision as rules
from fer.engines.tensorflow.blob import Axes
from fer.engines.tensorflow.keras_layers import convolution as own
from fer.engines.tensorflow.keras_layers.own import caffes
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


class _Sliding(rules.Sliding, Layer):
    def sliding(self) -> dict[str, Any]:
        window = self.window
        return {
            "axis": self.axis,
            "kernel": window.kernel,
            "stride": window.stride,
            "pad": window.pad,
            "dilation": window.dilation,
        }


@register("Convolution")
class Convolution(rules.Convolution, _Sliding):
    def layout(self, index: int) -> Axes:
        """[filters, channels, *kernel] becomes [*kernel, channels, filters]."""
        axes = len(self.window.kernel)
        return (*range(2, axes + 2), 1, 0) if index == 0 else None

    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        common = {"name": wiring.name(self.param.name), "dtype": wiring.policy}
        images = len(self.window.kernel) == 2 and self.axis == 1
        stock = self._stock(wiring, common) if images else None
        if stock is None:
            param, weights = self.param.convolution_param, self.blobs[0].shape
            size = tuple(caffes(bottoms[0].shape)[self.axis + 1 :])
            made: Any = own.GeneralConvolution(
                **self.sliding(),
                filters=param.num_output,
                groups=param.group,
                use_bias=param.bias_term,
                transposed=self.transposed,
                channels=weights[0] if self.transposed else weights[1] * param.group,
                top_shape=(param.num_output, *self.out_size(size)),
                **common,
            )
            tops = tuple(made(bottom) for bottom in bottoms)
            kernel = made.weights_
        else:
            made, before, behind = stock
            tops = tuple(behind(made(before(bottom))) for bottom in bottoms)
            kernel = made.kernel
        wiring.holds(self, kernel, *([made.bias] if self.param.convolution_param.bias_term else []))
        return tops

    def _stock(self, wiring: Wiring, common: dict[str, Any]) -> tuple[Any, Any, Any] | None:
        """Keras' own layer, what goes before and what behind it."""
        param, window = self.param.convolution_param, self.window
        # Keras leaves groups on a CPU to XLA, whose convolutions take six times as long.
        if param.group > 1 or (window.dilation != (1, 1) and window.stride != (1, 1)):
            return None
        centred = all(2 * pad == extent - 1 for pad, extent in zip(window.pad, window.extent, strict=True))
        same = any(window.pad) and window.stride == (1, 1) and centred
        made = keras.layers.Conv2D(
            param.num_output,
            window.kernel,
            window.stride,
            "same" if same else "valid",
            dilation_rate=window.dilation,
            use_bias=param.bias_term,
            **common,
        )
        if same or not any(window.pad):
            return made, _as_it_is, _as_it_is
        frame = keras.layers.ZeroPadding2D(window.pad, name=wiring.name(f"{self.param.name}.pad"), dtype=wiring.policy)
        return made, frame, _as_it_is


@register("Deconvolution")
class Deconvolution(rules.Deconvolution, Convolution):
    def _stock(self, wiring: Wiring, common: dict[str, Any]) -> tuple[Any, Any, Any] | None:
        param, window = self.param.convolution_param, self.window
        if window.dilation != (1, 1) or param.group != 1:
            return None
        made = keras.layers.Conv2DTranspose(
            param.num_output, window.kernel, window.stride, "valid", use_bias=param.bias_term, **common
        )
        # Keras adds what a stride is longer than the kernel.
        ways = zip(window.pad, window.stride, window.kernel, strict=True)
        cuts = tuple((pad, pad + max(stride - kernel, 0)) for pad, stride, kernel in ways)
        if not any(map(any, cuts)):
            return made, _as_it_is, _as_it_is
        cut = keras.layers.Cropping2D(cuts, name=wiring.name(f"{self.param.name}.cut"), dtype=wiring.policy)
        return made, _as_it_is, cut


@register("Im2col")
class Im2col(rules.Im2col, _Sliding):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = own.Im2col(**self.sliding(), name=wiring.name(self.param.name), dtype=wiring.policy)
        return (made(bottoms[0]),)


def _as_it_is(x: Tensor) -> Tensor:
    return x
