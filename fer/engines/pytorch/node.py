"""A layer in a net."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from fer.engines.pytorch.registry import Layer
from fer.schema import caffe_pb2


@dataclass
class Node:
    """A layer in its place: which blobs it reads and makes, and how its tops count in the loss."""

    layer: Layer
    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    loss_weights: list[float]
    cut: list[bool]
    """Per bottom: whether no gradient flows down it (`propagate_down: false`)."""
    last_use: list[str] = field(default_factory=list)
    """Blobs that nothing after this layer reads and that are no outputs."""
    fused: Callable[..., tuple[Tensor, ...]] | None = None
    """The forward pass, where it is that of several layers."""

    @property
    def param(self) -> caffe_pb2.LayerParameter:
        """As it was set up, defaults of the net written in."""
        return self.layer.param

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops."""
        return (self.fused or self.layer.forward)(*bottoms)


def loss_weights(layer: Layer, tops: int) -> list[float]:
    """The loss weight of each top; a loss layer's default is written into its param, as Caffe does."""
    param = layer.param
    if not param.loss_weight and layer.loss_layer:
        param.loss_weight.append(1)
    elif param.loss_weight and len(param.loss_weight) != tops:
        layer.fail(f"loss_weight is given {len(param.loss_weight)} times for {tops} tops; give it once per top")
    return [*param.loss_weight, *[0.0] * (tops - len(param.loss_weight))]
