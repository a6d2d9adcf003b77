"""Losses: one number from scores and what they should have been."""

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.errors import FerError
from fer.nets.infogain import read_infogain
from fer.schema import caffe_pb2

_Loss = caffe_pb2.LossParameter

_Mode: TypeAlias = caffe_pb2.LossParameter.NormalizationMode


class Loss(Layer):
    """Scores and labels in, one number out."""

    loss_layer = True

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2)
        if not shapes[0] or shapes[0][:1] != shapes[1][:1]:
            self.fail(f"its bottoms differ in how many items they have: {shapes}")
        return [()]

    def mode(self, default: _Mode) -> _Mode:
        """The normalization asked for; the old `normalize` counts where the new field is absent."""
        param = self.param.loss_param
        if param.HasField("normalization") or not param.HasField("normalize"):
            return param.normalization if param.HasField("normalization") else default
        return _Loss.VALID if param.normalize else _Loss.BATCH_SIZE

    def divisor(self, mode: _Mode, outer: int, inner: int) -> int:
        """What a sum over outer x inner places is divided by, where none of them is ignored."""
        by = {_Loss.NONE: 1, _Loss.BATCH_SIZE: outer}
        return max(by.get(mode, outer * inner), 1)

    @property
    def ignored(self) -> int | None:
        param = self.param.loss_param
        return param.ignore_label if param.HasField("ignore_label") else None


class Classified(Loss):
    """Losses over scores whose `axis` holds the classes; a second top takes the probabilities."""

    axis: int

    index_bottom = 1

    def index_range(self) -> tuple[int, int | None]:
        return self.classes, self.ignored

    def score_axis(self) -> int:
        raise NotImplementedError

    def classify(self, shapes: list[Shape]) -> list[Shape]:
        scores, labels = shapes[:2]
        self.axis = self.axis_of(self.score_axis(), scores)
        self.outer, self.classes = math.prod(scores[: self.axis]), scores[self.axis]
        self.inner = math.prod(scores[self.axis + 1 :])
        if math.prod(labels) != self.outer * self.inner:
            self.fail(f"{math.prod(labels)} labels {labels} for {self.outer * self.inner} predictions {scores}")
        return [(), scores][: max(len(self.param.top), 1)]


class SoftmaxWithLoss(Classified):
    """Mean of -log of the right class's probability."""

    def score_axis(self) -> int:
        return self.param.softmax_param.axis

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2)
        return self.classify(shapes)


class InfogainLoss(Classified):
    """Mean of -sum over classes of H[label, class] * log probability; H from `source` or a third bottom."""

    def score_axis(self) -> int:
        return self.param.infogain_loss_param.axis

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 2, 3)
        if self.param.loss_param.HasField("normalize"):
            self.fail("has normalize, which Caffe refuses here: say normalization (VALID, FULL, BATCH_SIZE or NONE)")
        tops = self.classify(shapes)
        matrix = (self.classes, self.classes)
        if len(shapes) == 3:
            if shapes[2][-2:] != matrix or math.prod(shapes[2][:-2]) != 1:
                self.fail(f"its third bottom must be {matrix}, not {shapes[2]}")
        else:
            matrix_file = self._read(Path(self.param.infogain_loss_param.source))
            self._matrix = self.context.place(matrix_file.astype(self.context.real))
        return tops

    def _read(self, path: Path) -> np.ndarray:
        """float32 [classes, classes] from a binary BlobProto."""
        if not self.param.infogain_loss_param.source:
            self.fail("needs infogain_loss_param { source: ... } or a third bottom")
        try:
            return read_infogain(path, self.classes)
        except FerError as error:
            self.fail(str(error))


class OfItems(Loss):
    """Losses over one label for each item; what an item's first bottom holds are its classes."""

    index_bottom = 1

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        self.classes = math.prod(shapes[0][1:])
        return tops

    def index_range(self) -> tuple[int, int | None]:
        return self.classes, None


class MultinomialLogisticLoss(OfItems):
    """Mean over items of -log of the right class's probability; the bottom holds probabilities."""


class HingeLoss(OfItems):
    """Mean over items of the sum over classes of max(0, 1 - score), the wrong classes' scores negated; L2: squared."""


class SigmoidCrossEntropyLoss(Loss):
    """Cross-entropy of sigmoid(score) and targets in 0..1, summed, and divided by the number of items by default."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if math.prod(shapes[0]) != math.prod(shapes[1]):
            self.fail(f"its bottoms differ in how many numbers they hold: {shapes}")
        return tops


class EuclideanLoss(Loss):
    """Sum of squared differences over twice the number of items; both bottoms get a gradient.

    Also stands in for the Python layer of that name that comes with Caffe's examples.
    """

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if math.prod(shapes[0]) != math.prod(shapes[1]):
            self.fail(f"its bottoms differ in how many numbers they hold: {shapes}")
        return tops


class ContrastiveLoss(Loss):
    """Draws features [N, C] of similar pairs together and pushes others apart up to the margin."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        self.expect_bottoms(shapes, 3)
        a, b, similar = shapes
        if len(a) < 2 or a[:2] != b[:2] or max(math.prod(a[2:]), math.prod(b[2:])) > 1:
            self.fail(f"takes two bottoms of features [N, C], not {a} and {b}")
        if similar[:1] != a[:1] or math.prod(similar[1:]) > 1:
            self.fail(f"its third bottom must be one number for each of {a[0]} pairs, not {similar}")
        return [()]
