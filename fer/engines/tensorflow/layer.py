"""A layer of Caffe's as Keras' layers, and what it may know of its surroundings."""

from typing import TYPE_CHECKING, Any, TypeAlias

import keras

from fer.engines.core import layer as core
from fer.engines.core.framework import Shape
from fer.engines.tensorflow.blob import Axes, Blob
from fer.schema import caffe_pb2

if TYPE_CHECKING:
    from fer.engines.tensorflow.wiring import Wiring

Tensor: TypeAlias = Any
"""Keras' symbol of a blob: images as [N, H, W, C], every other blob as Caffe has it."""


class Layer(core.Layer):
    """One Caffe layer."""

    blobs: list[Blob]

    def wire(self, wiring: "Wiring", *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops, by new layers of Keras."""
        raise NotImplementedError

    def layout(self, index: int) -> Axes:
        """How Keras lays a blob out."""
        return None

    def learn(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> None:
        super().learn(filler, shape)
        self.blobs[-1].axes = self.layout(len(self.blobs) - 1)


def as_caffe(wiring: "Wiring", layer: Layer, x: Tensor) -> Tensor:
    """The blob with its axes as Caffe has them."""
    return _permuted(wiring, layer, x, (3, 1, 2), "nchw")


def as_ours(wiring: "Wiring", layer: Layer, x: Tensor) -> Tensor:
    """The blob, whose axes are as Caffe has them, as these layers have it."""
    return _permuted(wiring, layer, x, (2, 3, 1), "nhwc")


def _permuted(wiring: "Wiring", layer: Layer, x: Tensor, axes: Shape, what: str) -> Tensor:
    if len(x.shape) != 4:
        return x
    return keras.layers.Permute(axes, name=wiring.name(f"{layer.param.name}.{what}"), dtype=wiring.policy)(x)
