"""InnerProduct, Embed, Parameter, Softmax, and layers that combine or reduce numbers."""

import math

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.engines.core.layers.neuron import Elementwise
from fer.schema import caffe_pb2

_Eltwise = caffe_pb2.EltwiseParameter


class InnerProduct(Layer):
    """All axes from `axis` on times weights [num_output, inputs] ([inputs, num_output] with transpose), plus bias."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.inner_product_param
        self.learn(param.weight_filler, self._weight_shape())
        if param.bias_term:
            self.learn(param.bias_filler, (param.num_output,))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param = self.param.inner_product_param
        if not param.num_output:
            self.fail("num_output must be 1 or more")
        self.axis = self.axis_of(param.axis, shapes[0])
        self.inputs = math.prod(shapes[0][self.axis :])
        if self.blobs and self.blob_shape(0) != self._weight_shape():
            self.fail(f"its weights are {self.blob_shape(0)}, which do not fit {self.inputs} inputs")
        return [(*shapes[0][: self.axis], param.num_output)]

    def _weight_shape(self) -> Shape:
        param = self.param.inner_product_param
        return (self.inputs, param.num_output) if param.transpose else (param.num_output, self.inputs)


class Embed(Layer):
    """Row `bottom` of the weights [input_dim, num_output], plus bias [num_output]."""

    index_bottom = 0

    def index_range(self) -> tuple[int, int | None]:
        return self.param.embed_param.input_dim, None

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.embed_param
        self.learn(param.weight_filler, (param.input_dim, param.num_output))
        if param.bias_term:
            self.learn(param.bias_filler, (param.num_output,))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param = self.param.embed_param
        if not param.num_output or not param.input_dim:
            self.fail("num_output and input_dim must be 1 or more")
        return [(*shapes[0], param.num_output)]


class Parameter(Layer):
    """A learnable blob as a top; Caffe starts it at zero."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        self.learn(caffe_pb2.FillerParameter(), tops[0])
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 0)
        shape = tuple(self.param.parameter_param.shape.dim)
        if any(side < 1 for side in shape):
            self.fail(f"shape must be of positive numbers, not {shape}")
        return [shape]


class Softmax(Elementwise):
    """Probabilities over the axis."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        self.axis = self.axis_of(self.param.softmax_param.axis, shapes[0])
        return tops


class Eltwise(Layer):
    """Product, sum with coefficients, or maximum of bottoms of one shape."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2, max(len(shapes), 2))
        param = self.param.eltwise_param
        if len(set(shapes)) > 1:
            self.fail(f"its bottoms differ in shape: {shapes}")
        if param.coeff and param.operation == _Eltwise.PROD:
            self.fail("coeff is for SUM, not for PROD")
        if param.coeff and len(param.coeff) != len(shapes):
            self.fail(f"has {len(param.coeff)} coeff for {len(shapes)} bottoms")
        return [shapes[0]]


class Reduction(Layer):
    """coeff times the sum, sum of absolute values, of squares, or the mean over all axes from `axis` on."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        self.axis = self.axis_of(self.param.reduction_param.axis, shapes[0])
        return [shapes[0][: self.axis]]


class ArgMax(Layer):
    """The top_k largest numbers' places, as floats; of equal numbers the last comes first, as in Caffe."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 1)
        param, shape = self.param.argmax_param, shapes[0]
        self.axis = self.axis_of(param.axis, shape) if param.HasField("axis") else None
        room = shape[self.axis] if self.axis is not None else math.prod(shape[1:])
        if not 1 <= param.top_k <= room:
            self.fail(f"top_k must be 1 to {room}, not {param.top_k}")
        if self.axis is not None:
            return [(*shape[: self.axis], param.top_k, *shape[self.axis + 1 :])]
        self.top_shape = (shape[0], 2 if param.out_max_val else 1, param.top_k, *[1] * (len(shape) - 3))
        return [self.top_shape]
