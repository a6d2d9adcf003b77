"""InnerProduct, Embed, Parameter, Softmax, and layers that combine or reduce numbers."""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from fer.engines.core.layers import common as rules
from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.layers.neuron import Elementwise
from fer.engines.pytorch.layers.parts import wide
from fer.engines.pytorch.registry import Layer, register
from fer.schema import caffe_pb2

_Eltwise, _Reduction = caffe_pb2.EltwiseParameter, caffe_pb2.ReductionParameter


@register("InnerProduct")
class InnerProduct(rules.InnerProduct, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.inner_product_param
        rows = bottoms[0].reshape(-1, self.inputs)
        weights = self.blobs[0].T if param.transpose else self.blobs[0]
        top = F.linear(rows, weights, self.blobs[1] if param.bias_term else None)
        return (top if self.axis == 1 else top.reshape(*bottoms[0].shape[: self.axis], param.num_output),)


@register("Embed")
class Embed(rules.Embed, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = class_index(self, bottoms[0], *self.index_range(), what="index")
        top = F.embedding(index, self.blobs[0])
        top = top if counted is None else top * counted.to(top.dtype).unsqueeze(-1)
        return (top + self.blobs[1] if self.param.embed_param.bias_term else top,)


@register("Parameter")
class Parameter(rules.Parameter, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.blobs[0],)


@register("Softmax")
class Softmax(rules.Softmax, Elementwise):
    def apply(self, x: Tensor) -> Tensor:
        # Its exponentials are summed in 32 bits, as the losses are.
        return torch.softmax(wide(x), self.axis)


@register("Eltwise")
class Eltwise(rules.Eltwise, Layer):
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
class Reduction(rules.Reduction, Layer):
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
class ArgMax(rules.ArgMax, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, x = self.param.argmax_param, bottoms[0].detach()
        axis = 1 if self.axis is None else self.axis
        x = x.flatten(1) if self.axis is None else x
        values, places = x.flip(axis).sort(dim=axis, descending=True, stable=True)
        values = values.narrow(axis, 0, param.top_k)
        places = (x.shape[axis] - 1 - places.narrow(axis, 0, param.top_k)).to(x.dtype)
        if self.axis is not None:
            return (values if param.out_max_val else places,)
        return ((torch.stack([places, values], 1) if param.out_max_val else places).reshape(self.top_shape),)
