"""Accuracy, over all and for each class."""

import math

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer


class Accuracy(Layer):
    """Share of places whose right class is among the top_k scores; a second top [classes] has it for each class.

    A class is in the top k if fewer than k others score as high or higher, so ties count as wrong.
    """

    index_bottom = 1

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2)
        param, (scores, labels) = self.param.accuracy_param, shapes
        self.axis = self.axis_of(param.axis, scores)
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
