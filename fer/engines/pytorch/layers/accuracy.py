"""Accuracy, over all and for each class."""

import torch
from torch import Tensor

from fer.engines.core.layers import accuracy as rules
from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.registry import Layer, register


@register("Accuracy")
class Accuracy(rules.Accuracy, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.accuracy_param
        scores = bottoms[0].detach().reshape(self.outer, self.classes, self.inner)
        labels = bottoms[1].reshape(self.outer, 1, self.inner)
        index, counted = class_index(self, labels, *self.index_range())
        rank = (scores >= scores.gather(1, index)).sum(1, keepdim=True)
        right = (rank <= param.top_k).to(self.context.dtype)
        counted = torch.ones_like(right) if counted is None else counted
        right = right * counted
        top = right.sum() / counted.sum().clamp(min=1)
        if len(self.param.top) < 2:
            return (top,)
        zeros = right.new_zeros(self.classes)
        by_class, totals = (zeros.scatter_add(0, index.reshape(-1), x.reshape(-1)) for x in (right, counted))
        return top, by_class / totals.clamp(min=1)
