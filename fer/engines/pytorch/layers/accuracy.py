"""Accuracy, over all and for each class."""

import math

import torch
from torch import Tensor

from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.layers.parts import axis_of, expect_bottoms
from fer.engines.pytorch.registry import Layer, Shape, register


@register("Accuracy")
class Accuracy(Layer):
    """Share of places whose right class is among the top_k scores; a second top [classes] has it for each class.

    A class is in the top k if fewer than k others score as high or higher, so ties count as wrong.
    """

    index_bottom = 1

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 2)
        param, (scores, labels) = self.param.accuracy_param, shapes
        self.axis = axis_of(self, param.axis, scores)
        self.outer, self.classes = math.prod(scores[: self.axis]), scores[self.axis]
        self.inner = math.prod(scores[self.axis + 1 :])
        if math.prod(labels) != self.outer * self.inner:
            self.fail(f"{math.prod(labels)} labels {labels} for {self.outer * self.inner} predictions {scores}")
        if not 1 <= param.top_k <= self.classes:
            self.fail(f"top_k must be 1 to {self.classes}, not {param.top_k}")
        return [(), (self.classes,)][: max(len(self.param.top), 1)]

    def index_range(self) -> tuple[int, int | None]:
        param = self.param.accuracy_param
        return self.classes, param.ignore_label if param.HasField("ignore_label") else None

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
