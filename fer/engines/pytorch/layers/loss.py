"""Losses: one number from scores and what they should have been."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.layers.parts import axis_of, expect_bottoms, in_its_own_type
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.errors import FerError
from fer.nets.infogain import read_infogain
from fer.schema import caffe_pb2

_Loss = caffe_pb2.LossParameter
_SMALLEST_FLOAT, _LOG_THRESHOLD = torch.finfo(torch.float32).tiny, 1e-20


class Loss(Layer):
    """Scores and labels in, one number out."""

    loss_layer = True

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 2)
        if not shapes[0] or shapes[0][:1] != shapes[1][:1]:
            self.fail(f"its bottoms differ in how many items they have: {shapes}")
        return [()]

    def mode(self, default: int) -> int:
        """The normalization asked for; the old `normalize` counts where the new field is absent."""
        param = self.param.loss_param
        if param.HasField("normalization") or not param.HasField("normalize"):
            return param.normalization if param.HasField("normalization") else default
        return _Loss.VALID if param.normalize else _Loss.BATCH_SIZE

    def normalized(self, total: Tensor, mode: int, outer: int, inner: int, counted: Tensor | None) -> Tensor:
        """`total` divided as `mode` says; `counted`: 1 for each place that was not ignored (None: none was)."""
        if mode == _Loss.VALID and counted is not None:
            return total / counted.sum().clamp(min=1)
        by = {_Loss.NONE: 1, _Loss.BATCH_SIZE: outer}
        return total / max(by.get(mode, outer * inner), 1)

    @property
    def ignored(self) -> int | None:
        param = self.param.loss_param
        return param.ignore_label if param.HasField("ignore_label") else None


class _Floor(torch.autograd.Function):
    """Clamped from below, with the gradient that passes as if it were not."""

    @staticmethod
    @in_its_own_type
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        return x.clamp(min=floor)

    @staticmethod
    @in_its_own_type
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _Classified(Loss):
    """Losses over scores whose `axis` holds the classes; a second top takes the probabilities."""

    axis: int
    index_bottom = 1

    def index_range(self) -> tuple[int, int | None]:
        return self.classes, self.ignored

    def score_axis(self) -> int:
        raise NotImplementedError

    def classify(self, shapes: list[Shape]) -> list[Shape]:
        scores, labels = shapes[:2]
        self.axis = axis_of(self, self.score_axis(), scores)
        self.outer, self.classes = math.prod(scores[: self.axis]), scores[self.axis]
        self.inner = math.prod(scores[self.axis + 1 :])
        if math.prod(labels) != self.outer * self.inner:
            self.fail(f"{math.prod(labels)} labels {labels} for {self.outer * self.inner} predictions {scores}")
        return [(), scores][: max(len(self.param.top), 1)]

    def places(self, x: Tensor) -> Tensor:
        """[outer, classes, inner]."""
        return x.reshape(self.outer, self.classes, self.inner)

    def labels(self, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Indices [outer, 1, inner], and how much each counts."""
        return class_index(self, labels.reshape(self.outer, 1, self.inner), *self.index_range())

    def summed(self, losses: Tensor, counted: Tensor | None) -> Tensor:
        total = losses.sum() if counted is None else (losses * counted).sum()
        return self.normalized(total, self.mode(_Loss.VALID), self.outer, self.inner, counted)

    def with_probabilities(self, loss: Tensor, log_probabilities: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        """Caffe passes no gradient through the second top."""
        if len(self.param.top) < 2:
            return (loss,)
        return loss, log_probabilities.detach().exp().to(scores.dtype).reshape(scores.shape)


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(_Classified):
    """Mean of -log of the right class's probability."""

    def score_axis(self) -> int:
        return self.param.softmax_param.axis

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 2)
        return self.classify(shapes)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = self.labels(bottoms[1])
        log_probabilities = F.log_softmax(_wide(self.places(bottoms[0])), 1)
        right = _Floor.apply(log_probabilities.gather(1, index), math.log(_SMALLEST_FLOAT))
        return self.with_probabilities(self.summed(-right, counted), log_probabilities, bottoms[0])


@register("InfogainLoss")
class InfogainLoss(_Classified):
    """Mean of -sum over classes of H[label, class] * log probability; H from `source` or a third bottom."""

    def score_axis(self) -> int:
        return self.param.infogain_loss_param.axis

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 2, 3)
        if self.param.loss_param.HasField("normalize"):
            self.fail("has normalize, which Caffe refuses here: say normalization (VALID, FULL, BATCH_SIZE or NONE)")
        tops = self.classify(shapes)
        matrix = (self.classes, self.classes)
        if len(shapes) == 3:
            if shapes[2][-2:] != matrix or math.prod(shapes[2][:-2]) != 1:
                self.fail(f"its third bottom must be {matrix}, not {shapes[2]}")
        else:
            self._matrix = self._read(Path(self.param.infogain_loss_param.source))
        return tops

    def _read(self, path: Path) -> Tensor:
        """[classes, classes] from a binary BlobProto."""
        if not self.param.infogain_loss_param.source:
            self.fail("needs infogain_loss_param { source: ... } or a third bottom")
        try:
            matrix = torch.from_numpy(read_infogain(path, self.classes))
        except FerError as error:
            self.fail(str(error))
        return matrix.to(self.context.device, self.context.dtype)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = self.labels(bottoms[1])
        matrix = self._matrix if len(bottoms) == 2 else bottoms[2].detach().reshape(self.classes, self.classes)
        log_probabilities = F.log_softmax(_wide(self.places(bottoms[0])), 1)
        floored = _Floor.apply(log_probabilities, math.log(_LOG_THRESHOLD))
        losses = -(matrix[index.squeeze(1)].movedim(-1, 1) * floored).sum(1, keepdim=True)
        return self.with_probabilities(self.summed(losses, counted), log_probabilities, bottoms[0])


class _OfItems(Loss):
    """Losses over one label for each item; what an item's first bottom holds are its classes."""

    index_bottom = 1

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        self.classes = math.prod(shapes[0][1:])
        return tops

    def index_range(self) -> tuple[int, int | None]:
        return self.classes, None


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(_OfItems):
    """Mean over items of -log of the right class's probability; the bottom holds probabilities."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        probabilities = _wide(bottoms[0].flatten(1))
        index, counted = class_index(self, _one_each(self, bottoms), *self.index_range())
        losses = -_Floor.apply(probabilities.gather(1, index), _LOG_THRESHOLD).log()
        return ((losses if counted is None else losses * counted).sum() / len(probabilities),)


@register("HingeLoss")
class HingeLoss(_OfItems):
    """Mean over items of the sum over classes of max(0, 1 - score), the wrong classes' scores negated; L2: squared."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = _wide(bottoms[0].flatten(1))
        index, counted = class_index(self, _one_each(self, bottoms), *self.index_range())
        sign = torch.ones_like(scores).scatter_(1, index, -1 if counted is None else -counted.to(scores.dtype))
        margin = F.relu(1 + sign * scores)
        squared = self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2
        return ((margin.square() if squared else margin).sum() / len(scores),)


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """Cross-entropy of sigmoid(score) and targets in 0..1, summed, and divided by the number of items by default."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if math.prod(shapes[0]) != math.prod(shapes[1]):
            self.fail(f"its bottoms differ in how many numbers they hold: {shapes}")
        return tops

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = _wide(bottoms[0])
        targets = bottoms[1].detach().reshape(scores.shape).to(scores.dtype)
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        counted = None
        if self.ignored is not None:
            counted = (targets.long() != self.ignored).to(scores.dtype)
            losses = losses * counted
        outer = scores.shape[0]
        return (self.normalized(losses.sum(), self.mode(_Loss.BATCH_SIZE), outer, scores.numel() // outer, counted),)


@register("EuclideanLoss", "Python:EuclideanLossLayer")
class EuclideanLoss(Loss):
    """Sum of squared differences over twice the number of items; both bottoms get a gradient.

    Also stands in for the Python layer of that name that comes with Caffe's examples.
    """

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().reshape(shapes)
        if math.prod(shapes[0]) != math.prod(shapes[1]):
            self.fail(f"its bottoms differ in how many numbers they hold: {shapes}")
        return tops

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        difference = _wide(bottoms[0]) - _wide(bottoms[1]).reshape(bottoms[0].shape)
        return (difference.square().sum() / (2 * bottoms[0].shape[0]),)


@register("ContrastiveLoss")
class ContrastiveLoss(Loss):
    """Draws features [N, C] of similar pairs together and pushes others apart up to the margin."""

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        expect_bottoms(self, shapes, 3)
        a, b, similar = shapes
        if len(a) < 2 or a[:2] != b[:2] or max(math.prod(a[2:]), math.prod(b[2:])) > 1:
            self.fail(f"takes two bottoms of features [N, C], not {a} and {b}")
        if similar[:1] != a[:1] or math.prod(similar[1:]) > 1:
            self.fail(f"its third bottom must be one number for each of {a[0]} pairs, not {similar}")
        return [()]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.contrastive_loss_param
        a, b = (_wide(bottom.flatten(1)) for bottom in bottoms[:2])
        similar = bottoms[2].detach().reshape(-1, 1).long() != 0
        return (_Contrastive.apply(a - b, similar, param.margin, param.legacy_version),)


class _Contrastive(torch.autograd.Function):
    """Caffe adds 1e-4 to the distance it divides the gradient by; so does this."""

    @staticmethod
    @in_its_own_type
    def forward(ctx: Any, difference: Tensor, similar: Tensor, margin: float, legacy: bool) -> Tensor:
        squares = difference.square().sum(1, keepdim=True)
        distance = squares.sqrt()
        gap = margin - (squares if legacy else distance)
        pushed = gap.clamp(min=0) if legacy else gap.clamp(min=0).square()
        slope = -(gap > 0).to(gap.dtype) if legacy else -gap.clamp(min=0) / (distance + 1e-4)
        ctx.save_for_backward(torch.where(similar, 1, slope) * difference / len(difference))
        return torch.where(similar, squares, pushed).sum() / (2 * len(difference))

    @staticmethod
    @once_differentiable
    @in_its_own_type
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * grad, None, None, None


def _wide(x: Tensor) -> Tensor:
    """Losses are summed in 32 bits at least."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _one_each(layer: Layer, bottoms: tuple[Tensor, ...]) -> Tensor:
    """Labels as [N, 1]."""
    if bottoms[1].numel() != len(bottoms[0]):
        layer.fail(f"needs one label for each of {len(bottoms[0])} items, not {tuple(bottoms[1].shape)}")
    return bottoms[1].reshape(-1, 1)
