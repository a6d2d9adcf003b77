"""Losses and Accuracy: numbers from scores and what they should have been, always in 32 bits."""

from typing import Any

from fer.engines.core.layers import accuracy as accuracy_rules
from fer.engines.core.layers import loss as rules
from fer.engines.tensorflow.keras_layers import loss as own
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow.registry import register
from fer.engines.tensorflow.wiring import Wiring
from fer.schema import caffe_pb2

_Loss, _Hinge = caffe_pb2.LossParameter, caffe_pb2.HingeLossParameter


class Loss(rules.Loss, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        made = self.make({"name": wiring.name(self.param.name), "dtype": "float32"})
        tops = made(list(bottoms))
        return tuple(tops) if isinstance(tops, list | tuple) else (tops,)

    def make(self, common: dict[str, Any]) -> Any:
        """The Keras layer, which all that Keras layers have in `common` is given to."""
        raise NotImplementedError

    def normalizing(self, default: Any) -> dict[str, Any]:
        mode = _Loss.NormalizationMode.Name(self.mode(default))
        return {"normalization": mode, "ignore_label": self.ignored}


class _Classified(rules.Classified, Loss):
    def classified(self) -> dict[str, Any]:
        return {
            **self.normalizing(_Loss.VALID),
            "axis": self.axis,
            "classes": self.classes,
            "inner": self.inner,
            "with_probabilities": len(self.param.top) > 1,
        }


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(rules.SoftmaxWithLoss, _Classified):
    def make(self, common: dict[str, Any]) -> Any:
        return own.SoftmaxWithLoss(**self.classified(), **common)


@register("InfogainLoss")
class InfogainLoss(rules.InfogainLoss, _Classified):
    def make(self, common: dict[str, Any]) -> Any:
        matrix = None if len(self.param.bottom) == 3 else tuple(map(tuple, self._matrix.numpy().tolist()))
        return own.InfogainLoss(matrix=matrix, **self.classified(), **common)


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(rules.MultinomialLogisticLoss, Loss):
    def make(self, common: dict[str, Any]) -> Any:
        return own.MultinomialLogisticLoss(**common)


@register("HingeLoss")
class HingeLoss(rules.HingeLoss, Loss):
    def make(self, common: dict[str, Any]) -> Any:
        return own.HingeLoss(norm=_Hinge.Norm.Name(self.param.hinge_loss_param.norm), **common)


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(rules.SigmoidCrossEntropyLoss, Loss):
    def make(self, common: dict[str, Any]) -> Any:
        return own.SigmoidCrossEntropyLoss(**self.normalizing(_Loss.BATCH_SIZE), **common)


@register("EuclideanLoss", "Python:EuclideanLossLayer")
class EuclideanLoss(rules.EuclideanLoss, Loss):
    def make(self, common: dict[str, Any]) -> Any:
        return own.EuclideanLoss(**common)


@register("ContrastiveLoss")
class ContrastiveLoss(rules.ContrastiveLoss, Loss):
    def make(self, common: dict[str, Any]) -> Any:
        param = self.param.contrastive_loss_param
        return own.ContrastiveLoss(margin=param.margin, legacy_version=param.legacy_version, **common)


@register("Accuracy")
class Accuracy(accuracy_rules.Accuracy, Layer):
    def wire(self, wiring: Wiring, *bottoms: Tensor) -> tuple[Tensor, ...]:
        classes, ignored = self.index_range()
        by_class = len(self.param.top) > 1
        made = own.Accuracy(
            top_k=self.param.accuracy_param.top_k,
            ignore_label=ignored,
            classes=classes,
            inner=self.inner,
            by_class=by_class,
            name=wiring.name(self.param.name),
            dtype="float32",
        )
        tops = made(list(bottoms))
        return tuple(tops) if by_class else (tops,)
