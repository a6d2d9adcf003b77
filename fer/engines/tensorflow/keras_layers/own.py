"""What our Keras layers share."""

import inspect
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Tensor: TypeAlias = Any
"""A tf.Tensor, or Keras' symbol of one."""
Shape: TypeAlias = Any
"""A tuple, None where a length is not known yet; or a list of them, of a layer that takes several bottoms."""
serializable = keras.saving.register_keras_serializable("fer")


class Own(keras.layers.Layer):
    """A layer whose keywords, and so its configuration, are the attributes that its class annotates."""

    def __init__(self, **given: Any) -> None:
        settings = {name: given.pop(name, getattr(type(self), name)) for name in self._names()}
        super().__init__(**given)
        for name, value in settings.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    @classmethod
    def _names(cls) -> list[str]:
        own = [kind for kind in cls.__mro__ if issubclass(kind, Own)]
        return list(dict.fromkeys(name for kind in own for name in inspect.get_annotations(kind)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self._names()}}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@serializable
class Always(keras.layers.Wrapper):
    """A layer that always does as in training (`mode`), or always as in testing, whatever its model does."""

    def __init__(self, layer: keras.layers.Layer, mode: bool, **given: Any) -> None:
        super().__init__(layer, **given)
        self.mode = mode

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.layer.compute_output_shape(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs, training=self.mode)


def nchw(x: Tensor) -> Tensor:
    """A blob with its axes as Caffe has them."""
    return tf.transpose(x, (0, 3, 1, 2)) if len(x.shape) == 4 else x


def nhwc(x: Tensor) -> Tensor:
    """A blob whose axes are as Caffe has them, as these layers have it."""
    return tf.transpose(x, (0, 2, 3, 1)) if len(x.shape) == 4 else x


def caffes(shape: Shape) -> Shape:
    """A blob's shape as Caffe has it."""
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else tuple(shape)


def ours(shape: Shape) -> Shape:
    """Caffe's shape of a blob, as these layers have it."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else tuple(shape)


def our_axis(axis: int, axes: int) -> int:
    """Where Caffe's axis of a blob of so many axes is in ours."""
    return (0, 3, 1, 2)[axis] if axes == 4 else axis
