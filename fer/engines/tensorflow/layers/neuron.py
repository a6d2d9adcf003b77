"""Layers that work on every number by itself."""

from typing import Any

import keras

from fer.engines.core.layers import neuron as rules
from fer.engines.tensorflow.keras_layers import neuron as own
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring


class Elementwise(rules.Elementwise, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = self.make({"name": wiring.name(self.param.name), "dtype": wiring.policy_of(bottoms)})
        return (made(bottoms[0]),)

    def make(self, common: dict[str, Any]) -> Any:
        """The Keras layer, which all that Keras layers have in `common` is given to."""
        raise NotImplementedError


@register("ReLU")
class ReLU(rules.ReLU, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        slope = self.param.relu_param.negative_slope
        if slope < 0:
            return own.SlopedReLU(negative_slope=slope, **common)
        return keras.layers.LeakyReLU(slope, **common) if slope else keras.layers.ReLU(**common)


@register("PReLU")
class PReLU(rules.PReLU, Elementwise):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        shared = self.param.prelu_param.channel_shared
        made = own.ChannelPReLU(shared=shared, name=wiring.name(self.param.name), dtype=wiring.policy)
        top = made(bottoms[0])
        wiring.holds(self, made.slope)
        return (top,)


@register("ELU")
class ELU(rules.ELU, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        return keras.layers.ELU(self.param.elu_param.alpha, **common)


@register("Swish")
class Swish(rules.Swish, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        beta = self.param.swish_param.beta
        return keras.layers.Activation("silu", **common) if beta == 1 else own.Swish(beta=beta, **common)


@register("Clip")
class Clip(rules.Clip, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        return own.Clip(low=self.param.clip_param.min, high=self.param.clip_param.max, **common)


@register("Threshold")
class Threshold(rules.Threshold, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        return own.Threshold(threshold=self.param.threshold_param.threshold, **common)


@register("Dropout")
class Dropout(rules.Dropout, Elementwise):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        ratio = self.param.dropout_param.dropout_ratio
        made = keras.layers.Dropout(ratio, name=wiring.name(self.param.name), dtype=wiring.policy)
        if ratio:
            wiring.draws(made, f"{self.param.name}/dropout")
        return (wiring.call(made, self, bottoms[0], drops=True),)


@register("Power")
class Power(rules.Power, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        param = self.param.power_param
        return own.Power(power=param.power, scale=param.scale, shift=param.shift, **common)


@register("Exp")
class Exp(rules.Exp, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        param = self.param.exp_param
        return own.Exp(base=param.base, scale=param.scale, shift=param.shift, **common)


@register("Log")
class Log(rules.Log, Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        param = self.param.log_param
        return own.Log(base=param.base, scale=param.scale, shift=param.shift, **common)


@register("AbsVal")
class AbsVal(Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        return own.AbsVal(**common)


@register("Sigmoid", "TanH", "BNLL")
class Activation(Elementwise):
    def make(self, common: dict[str, Any]) -> Any:
        name = {"Sigmoid": "sigmoid", "TanH": "tanh", "BNLL": "softplus"}[self.param.type]
        return keras.layers.Activation(name, **common)
