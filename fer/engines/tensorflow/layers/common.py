"""InnerProduct, Embed, Parameter, Softmax, and layers that combine or reduce numbers."""

import keras

from fer.engines.core.layers import common as rules
from fer.engines.tensorflow.blob import Axes
from fer.engines.tensorflow.keras_layers import common as own
from fer.engines.tensorflow.keras_layers.own import our_axis
from fer.engines.tensorflow.keras_layers.shape import CaffeReshape
from fer.engines.tensorflow.layer import Layer, Tensor, as_caffe, as_ours
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring
from fer.schema import caffe_pb2

_Eltwise, _Reduction = caffe_pb2.EltwiseParameter, caffe_pb2.ReductionParameter


@register("InnerProduct")
class InnerProduct(rules.InnerProduct, Layer):
    def layout(self, index: int) -> Axes:
        return (1, 0) if index == 0 and not self.param.inner_product_param.transpose else None

    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, name = self.param.inner_product_param, self.param.name
        made = keras.layers.Dense(
            param.num_output, use_bias=param.bias_term, name=wiring.name(name), dtype=wiring.policy
        )
        top = as_ours(wiring, self, made(self._rows(wiring, as_caffe(wiring, self, bottoms[0]))))
        wiring.holds(self, made.kernel, *([made.bias] if param.bias_term else []))
        return (top,)

    def _rows(self, wiring: Wiring, x: Tensor) -> Tensor:
        """The axes from `axis` on made one."""
        name = f"{self.param.name}.flat"
        if len(x.shape) == self.axis + 1:
            return x
        if self.axis == 1:
            return keras.layers.Flatten(name=wiring.name(name), dtype=wiring.policy)(x)
        if self.axis == 0:
            return CaffeReshape(shape=(1, self.inputs), name=wiring.name(name), dtype=wiring.policy)(x)
        shape = (*x.shape[1 : self.axis], self.inputs)
        return keras.layers.Reshape(shape, name=wiring.name(name), dtype=wiring.policy)(x)


@register("Embed")
class Embed(rules.Embed, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.embed_param
        made = own.Embed(
            input_dim=param.input_dim,
            num_output=param.num_output,
            use_bias=param.bias_term,
            name=wiring.name(self.param.name),
            dtype="float32",
        )
        top = as_ours(wiring, self, made(as_caffe(wiring, self, bottoms[0])))
        wiring.holds(self, made.table, *([made.bias] if param.bias_term else []))
        return (top,)


@register("Softmax")
class Softmax(rules.Softmax, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        axis = our_axis(self.axis, len(bottoms[0].shape))
        # Its exponentials are summed in 32 bits, as the losses are.
        made = keras.layers.Softmax(axis, name=wiring.name(self.param.name), dtype="float32")
        return (made(bottoms[0]),)


@register("Eltwise")
class Eltwise(rules.Eltwise, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.eltwise_param
        common = {"name": wiring.name(self.param.name), "dtype": wiring.policy_of(bottoms)}
        if param.operation == _Eltwise.PROD:
            made = keras.layers.Multiply(**common)
        elif param.operation == _Eltwise.MAX:
            made = own.Largest(**common)
        elif any(factor != 1 for factor in param.coeff):
            made = own.WeightedSum(coefficients=tuple(param.coeff), **common)
        else:
            made = keras.layers.Add(**common)
        return (made(list(bottoms)),)


@register("Reduction")
class Reduction(rules.Reduction, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.reduction_param
        made = own.Reduction(
            operation=_Reduction.ReductionOp.Name(param.operation),
            axis=self.axis,
            coeff=param.coeff,
            name=wiring.name(self.param.name),
            dtype=wiring.policy_of(bottoms),
        )
        return (made(as_caffe(wiring, self, bottoms[0])),)


@register("ArgMax")
class ArgMax(rules.ArgMax, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.argmax_param
        made = own.ArgMax(
            top_k=param.top_k,
            out_max_val=param.out_max_val,
            axis=self.axis,
            name=wiring.name(self.param.name),
            dtype="float32",
        )
        return (as_ours(wiring, self, made(as_caffe(wiring, self, bottoms[0]))),)


@register("Parameter")
class Parameter(rules.Parameter, Layer):
    """In Keras a layer without a bottom is not: this one hangs on the first input of its net."""

    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        shape = tuple(self.param.parameter_param.shape.dim)
        made = own.Parameter(shape=shape, name=wiring.name(self.param.name), dtype=wiring.policy)
        top = as_ours(wiring, self, made(wiring.any_input()))
        wiring.holds(self, made.value)
        return (top,)
