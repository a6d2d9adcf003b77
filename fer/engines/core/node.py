"""A layer in a net."""

from dataclasses import dataclass, field
from typing import Any

from fer.engines.core.layer import Layer
from fer.schema import caffe_pb2


@dataclass
class Node:
    """A layer in its place: which blobs it reads and makes, and how its tops count in the loss."""

    layer: Any
    """The framework's."""
    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    loss_weights: list[float]
    cut: list[bool]
    """Per bottom: whether no gradient flows down it (`propagate_down: false`)."""
    last_use: list[str] = field(default_factory=list)
    """Blobs that nothing after this layer reads and that are no outputs."""

    @property
    def param(self) -> caffe_pb2.LayerParameter:
        """As it was set up, defaults of the net written in."""
        param: caffe_pb2.LayerParameter = self.layer.param
        return param


def loss_weights(layer: Layer, tops: int) -> list[float]:
    """The loss weight of each top; a loss layer's default is written into its param, as Caffe does."""
    param = layer.param
    if not param.loss_weight and layer.loss_layer:
        param.loss_weight.append(1)
    elif param.loss_weight and len(param.loss_weight) != tops:
        layer.fail(f"loss_weight is given {len(param.loss_weight)} times for {tops} tops; give it once per top")
    return [*param.loss_weight, *[0.0] * (tops - len(param.loss_weight))]
