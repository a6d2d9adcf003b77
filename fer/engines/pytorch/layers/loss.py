"""Losses: one number from scores and what they should have been."""

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fer.engines.core.layers import loss as rules
from fer.engines.pytorch.layers.labels import class_index
from fer.engines.pytorch.layers.parts import in_its_own_type, wide
from fer.engines.pytorch.registry import Layer, register
from fer.schema import caffe_pb2

_Loss = caffe_pb2.LossParameter

_Mode: TypeAlias = caffe_pb2.LossParameter.NormalizationMode

_SMALLEST_FLOAT, _LOG_THRESHOLD = torch.finfo(torch.float32).tiny, 1e-20


class Loss(rules.Loss, Layer):
    def normalized(self, total: Tensor, mode: _Mode, outer: int, inner: int, counted: Tensor | None) -> Tensor:
        """`total` divided as `mode` says; `counted`: 1 for each place that was not ignored (None: none was)."""
        if mode == _Loss.VALID and counted is not None:
            return total / counted.sum().clamp(min=1)
        return total / self.divisor(mode, outer, inner)


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


class _Classified(rules.Classified, Loss):
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
class SoftmaxWithLoss(rules.SoftmaxWithLoss, _Classified):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = self.labels(bottoms[1])
        log_probabilities = F.log_softmax(wide(self.places(bottoms[0])), 1)
        right = _Floor.apply(log_probabilities.gather(1, index), math.log(_SMALLEST_FLOAT))
        return self.with_probabilities(self.summed(-right, counted), log_probabilities, bottoms[0])


@register("InfogainLoss")
class InfogainLoss(rules.InfogainLoss, _Classified):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index, counted = self.labels(bottoms[1])
        matrix = self._matrix if len(bottoms) == 2 else bottoms[2].detach().reshape(self.classes, self.classes)
        log_probabilities = F.log_softmax(wide(self.places(bottoms[0])), 1)
        floored = _Floor.apply(log_probabilities, math.log(_LOG_THRESHOLD))
        losses = -(matrix[index.squeeze(1)].movedim(-1, 1) * floored).sum(1, keepdim=True)
        return self.with_probabilities(self.summed(losses, counted), log_probabilities, bottoms[0])


class _OfItems(rules.OfItems, Loss):
    pass


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(rules.MultinomialLogisticLoss, _OfItems):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        probabilities = wide(bottoms[0].flatten(1))
        index, counted = class_index(self, _one_each(self, bottoms), *self.index_range())
        losses = -_Floor.apply(probabilities.gather(1, index), _LOG_THRESHOLD).log()
        return ((losses if counted is None else losses * counted).sum() / len(probabilities),)


@register("HingeLoss")
class HingeLoss(rules.HingeLoss, _OfItems):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = wide(bottoms[0].flatten(1))
        index, counted = class_index(self, _one_each(self, bottoms), *self.index_range())
        sign = torch.ones_like(scores).scatter_(1, index, -1 if counted is None else -counted.to(scores.dtype))
        margin = F.relu(1 + sign * scores)
        squared = self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2
        return ((margin.square() if squared else margin).sum() / len(scores),)


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(rules.SigmoidCrossEntropyLoss, Loss):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = wide(bottoms[0])
        targets = bottoms[1].detach().reshape(scores.shape).to(scores.dtype)
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        counted = None
        if self.ignored is not None:
            counted = (targets.long() != self.ignored).to(scores.dtype)
            losses = losses * counted
        outer = scores.shape[0]
        return (self.normalized(losses.sum(), self.mode(_Loss.BATCH_SIZE), outer, scores.numel() // outer, counted),)


@register("EuclideanLoss", "Python:EuclideanLossLayer")
class EuclideanLoss(rules.EuclideanLoss, Loss):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        difference = wide(bottoms[0]) - wide(bottoms[1]).reshape(bottoms[0].shape)
        return (difference.square().sum() / (2 * bottoms[0].shape[0]),)


@register("ContrastiveLoss")
class ContrastiveLoss(rules.ContrastiveLoss, Loss):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param = self.param.contrastive_loss_param
        a, b = (wide(bottom.flatten(1)) for bottom in bottoms[:2])
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


def _one_each(layer: Layer, bottoms: tuple[Tensor, ...]) -> Tensor:
    """Labels as [N, 1]."""
    if bottoms[1].numel() != len(bottoms[0]):
        layer.fail(f"needs one label for each of {len(bottoms[0])} items, not {tuple(bottoms[1].shape)}")
    return bottoms[1].reshape(-1, 1)
