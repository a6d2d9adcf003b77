"""A net's scores in the order of the data's classes: the rows of the layers that make them, moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fer.errors import FerError
from fer.nets.deploy import OF_CLASSES
from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2

_ELEMENTWISE = frozenset([
    "AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "Flatten", "Log", "Pooling", "Power", "ReLU", "Sigmoid",
    "Softmax", "Split", "Swish", "TanH",
])  # fmt: skip
_BY_CHANNEL = {"Scale": 2, "Bias": 1, "BatchNorm": 2, "PReLU": 1}  # how many of the blobs have a number a channel


@dataclass
class Heads:
    """By layer the axis of each blob that counts the classes, None where one does not; `order` is where the data's
    classes are in the net's."""

    order: Sequence[int]
    axes: dict[str, list[int | None]] = field(default_factory=dict)

    @property
    def are_moved(self) -> bool:
        return list(self.order) != list(range(len(self.order)))

    def moved(self, layer: str, place: int, blob: np.ndarray) -> np.ndarray:
        """A parameter of a layer (or its history) in the data's order."""
        axes = self.axes.get(layer, [])
        axis = axes[place] if place < len(axes) else None
        return blob if axis is None else np.take(blob, self.order, axis=axis)


def find_heads(
    net: caffe_pb2.NetParameter,
    states: Sequence[State],
    order: Sequence[int],
    shapes: Mapping[str, Sequence[Sequence[int]]],
    name: str,
) -> Heads:
    """The layers whose rows are classes, as the losses and accuracies of the net, called `name`, show them.

    Raises FerError for scores of another number than there are classes and, where the order is not the data's, for
    those whose order cannot be changed.
    """
    heads = Heads(order)
    for state in states:
        tested = filter_net(net, state)
        for position, judge in enumerate(tested.layer):
            if judge.type in OF_CLASSES and judge.bottom:
                _follow(tested.layer[:position], judge, heads, shapes, name)
    return heads


def _follow(
    before: Sequence[caffe_pb2.LayerParameter],
    judge: caffe_pb2.LayerParameter,
    heads: Heads,
    shapes: Mapping[str, Sequence[Sequence[int]]],
    name: str,
) -> None:
    """Go back from what a loss or an accuracy reads to the layer that makes one number a class."""
    blob = judge.bottom[0]
    for layer in reversed(before):
        if blob not in layer.top:
            continue
        if layer.type == "InnerProduct" or (layer.type == "Convolution" and layer.convolution_param.group == 1):
            heads.axes[layer.name] = _axes(layer, shapes, len(heads.order), name)
            return
        if layer.type in _BY_CHANNEL and layer.name in shapes:
            given, most = shapes[layer.name], _BY_CHANNEL[layer.type]
            by_class = [k < most and list(shape) == [len(heads.order)] for k, shape in enumerate(given)]
            heads.axes[layer.name] = [0 if each else None for each in by_class]
        elif layer.type not in _ELEMENTWISE and layer.type not in _BY_CHANNEL:
            break
        if not layer.bottom:
            break
        blob = layer.bottom[0]
    if heads.are_moved:
        raise FerError(
            f"{name}: its classes are in another order than the data's, and where {judge.name!r} has its scores from "
            "does not let itself be put in order\n"
            "take a data directory with its own order of classes: --data DIR"
        )


def _axes(
    layer: caffe_pb2.LayerParameter, shapes: Mapping[str, Sequence[Sequence[int]]], classes: int, name: str
) -> list[int | None]:
    axis = 1 if layer.type == "InnerProduct" and layer.inner_product_param.transpose else 0
    given = shapes.get(layer.name, [])
    if given and given[0][axis] != classes:
        raise FerError(
            f"{name}: layer {layer.name!r} gives {given[0][axis]} scores, and there are {classes} class names\n"
            "take a data directory of the net's own classes (--data DIR), and its labels.txt (--labels FILE)"
        )
    return [axis, *[0] * (len(given) - 1)]
