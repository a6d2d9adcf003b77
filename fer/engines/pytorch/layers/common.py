"""InnerProduct, Embed, Parameter, Softmax, and layers that combine or reduce numbers."""

import math
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.layers.neuron import Elementwise
from fer.engines.pytorch.layers.parts import axis_of, expect_bottoms, learnable
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.schema import caffe_pb2

_Eltwise, _Reduction = caffe_pb2.EltwiseParameter, caffe_pb2.ReductionParameter


@register("InnerProduct")
class InnerProduct(Layer):
    """All axes from `axis` on times weights [num_output, inputs] ([inputs, num_output] with transpose), plus bias."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.inner_product_param
        self.blobs = [learnable(self, param.weight_filler, self._weight_shape())]
        if param.bias_term:
            self.blobs.append(learnable(self, param.bias_filler, (param.num_output,)))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        param = self.param.inner_product_param
        if not param.num_output:
            self.fail("num_output must be 1 or more")
        self.axis = axis_of(self, param.axis, shapes[0])
        self.inputs = math.prod(shapes[0][self.axis :])
        if self.blobs and tuple(self.blobs[0].shape) != self._weight_shape():
            self.fail(f"its weights are {tuple(self.blobs[0].shape)}, which do not fit {self.inputs} inputs")
        return [(*shapes[0][: self.axis], param.num_output)]

    def _weight_shape(self) -> Shape:
        param = self.param.inner_product_param
        return (self.inputs, param.num_output) if param.transpose else (param.num_output, self.inputs)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.inner_product_param
        rows = bottoms[0].reshape(-1, self.inputs)
        weights = self.blobs[0].T if param.transpose else self.blobs[0]
        top = F.linear(rows, weights, self.blobs[1] if param.bias_term else None)
        return (top if self.axis == 1 else top.reshape(*bottoms[0].shape[: self.axis], param.num_output),)


@register("Embed")
class Embed(Layer):
    """Row `bottom` of the weights [input_dim, num_output], plus bias [num_output]."""

    index_bottom = 0

    def index_range(self) -> tuple[int, int | None]:
        return self.param.embed_param.input_dim, None

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        param = self.param.embed_param
        self.blobs = [learnable(self, param.weight_filler, (param.input_dim, param.num_output))]
        if param.bias_term:
            self.blobs.append(learnable(self, param.bias_filler, (param.num_output,)))
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        param = self.param.embed_param
        if not param.num_output or not param.input_dim:
            self.fail("num_output and input_dim must be 1 or more")
        return [(*shapes[0], param.num_output)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = class_index(self, bottoms[0], *self.index_range(), what="index")
        top = F.embedding(index, self.blobs[0])
        top = top if counted is None else top * counted.to(top.dtype).unsqueeze(-1)
        return (top + self.blobs[1] if self.param.embed_param.bias_term else top,)


@register("Parameter")
class Parameter(Layer):
    """A learnable blob as a top; Caffe starts it at zero."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = self.reshape(shapes)
        self.blobs = [learnable(self, caffe_pb2.FillerParameter(), tops[0])]
        return tops

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 0)
        shape = tuple(self.param.parameter_param.shape.dim)
        if any(side < 1 for side in shape):
            self.fail(f"shape must be of positive numbers, not {shape}")
        return [shape]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.blobs[0],)


@register("Softmax")
class Softmax(Elementwise):
    """Probabilities over the axis."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        self.axis = axis_of(self, self.param.softmax_param.axis, shapes[0])
        return tops

    def apply(self, x: Tensor) -> Tensor:
        return torch.softmax(x, self.axis)


@register("Eltwise")
class Eltwise(Layer):
    """Product, sum with coefficients, or maximum of bottoms of one shape."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 2, max(len(shapes), 2))
        param = self.param.eltwise_param
        if len(set(shapes)) > 1:
            self.fail(f"its bottoms differ in shape: {shapes}")
        if param.coeff and param.operation == _Eltwise.PROD:
            self.fail("coeff is for SUM, not for PROD")
        if param.coeff and len(param.coeff) != len(shapes):
            self.fail(f"has {len(param.coeff)} coeff for {len(shapes)} bottoms")
        return [shapes[0]]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.eltwise_param
        if param.operation == _Eltwise.PROD:
            return (reduce(torch.mul, bottoms),)
        if param.operation == _Eltwise.MAX:
            # On a tie Caffe takes the second of the first two bottoms, and the earlier one from there on.
            top = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
            return (reduce(lambda so_far, bottom: torch.where(bottom > so_far, bottom, so_far), bottoms[2:], top),)
        coeff = list(param.coeff) or [1.0] * len(bottoms)
        top = bottoms[0] * coeff[0] if coeff[0] != 1 else bottoms[0]
        for bottom, factor in zip(bottoms[1:], coeff[1:], strict=True):
            top = torch.add(top, bottom, alpha=factor)
        return (top,)


@register("Reduction")
class Reduction(Layer):
    """coeff times the sum, sum of absolute values, of squares, or the mean over all axes from `axis` on."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        self.axis = axis_of(self, self.param.reduction_param.axis, shapes[0])
        return [shapes[0][: self.axis]]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.reduction_param
        tails = bottoms[0].flatten(self.axis)
        match param.operation:
            case _Reduction.ASUM:
                top = tails.abs().sum(-1)
            case _Reduction.SUMSQ:
                top = tails.square().sum(-1)
            case _Reduction.MEAN:
                top = tails.mean(-1)
            case _:
                top = tails.sum(-1)
        return (top * param.coeff if param.coeff != 1 else top,)


@register("ArgMax")
class ArgMax(Layer):
    """The top_k largest numbers' places, as floats; of equal numbers the last comes first, as in Caffe."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 1)
        param, shape = self.param.argmax_param, shapes[0]
        self.axis = axis_of(self, param.axis, shape) if param.HasField("axis") else None
        room = shape[self.axis] if self.axis is not None else math.prod(shape[1:])
        if not 1 <= param.top_k <= room:
            self.fail(f"top_k must be 1 to {room}, not {param.top_k}")
        if self.axis is not None:
            return [(*shape[: self.axis], param.top_k, *shape[self.axis + 1 :])]
        self._top = (shape[0], 2 if param.out_max_val else 1, param.top_k, *[1] * (len(shape) - 3))
        return [self._top]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, x = self.param.argmax_param, bottoms[0].detach()
        axis = 1 if self.axis is None else self.axis
        x = x.flatten(1) if self.axis is None else x
        values, places = x.flip(axis).sort(dim=axis, descending=True, stable=True)
        values = values.narrow(axis, 0, param.top_k)
        places = (x.shape[axis] - 1 - places.narrow(axis, 0, param.top_k)).to(x.dtype)
        if self.axis is not None:
            return (values if param.out_max_val else places,)
        return ((torch.stack([places, values], 1) if param.out_max_val else places).reshape(self._top),)
