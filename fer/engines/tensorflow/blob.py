"""Parameters: in Caffe's shapes for whoever reads and writes them, laid out for Keras where TensorFlow computes."""

from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.core.framework import Shape

Axes = tuple[int, ...] | None
"""Which of Caffe's axes stands where in Keras' layout; None: all as they are."""


class Blob:
    """A parameter of Caffe's `shape`. Its variable is made when it is first needed: shared ones never are."""

    def __init__(self, values: np.ndarray):
        self.shape: Shape = values.shape
        self.axes: Axes = None
        self._values: np.ndarray | None = values
        self._variable: Any = None

    @property
    def variable(self) -> Any:
        """The tf.Variable, laid out for Keras."""
        if self._variable is None:
            self._variable = tf.Variable(_turned(self.numpy(), self.axes))
            self._values = None
        return self._variable

    def numpy(self) -> np.ndarray:
        """float32, C-contiguous, in Caffe's shape."""
        if self._values is not None:
            return self._values
        values = self._variable.numpy()
        return np.asarray(values if self.axes is None else values.transpose(np.argsort(self.axes)), order="C")

    def assign(self, values: np.ndarray) -> None:
        """Take over values of Caffe's shape."""
        if self._variable is None:
            self._values = np.array(values, np.float32).reshape(self.shape)
        else:
            self._variable.assign(_turned(values, self.axes))

    def laid_out(self, shape: Shape, axes: Axes) -> Any:
        """Its tensor as another layer has it, whose blob has this shape and layout."""
        value = self.variable.value()
        if (shape, axes) == (self.shape, self.axes):
            return value
        caffes = value if self.axes is None else tf.transpose(value, np.argsort(self.axes))
        return _turned_tensor(tf.reshape(caffes, shape), axes)


def _turned(values: np.ndarray, axes: Axes) -> np.ndarray:
    return values if axes is None else np.ascontiguousarray(values.transpose(axes))


def _turned_tensor(value: Any, axes: Axes) -> Any:
    return value if axes is None else tf.transpose(value, axes)


class View(Blob):
    """Another blob's numbers in another shape of as many."""

    def __init__(self, owner: Blob, shape: Shape):
        self.owner, self.shape, self.axes = owner, shape, None

    @property
    def variable(self) -> Any:
        return self.owner.variable

    def numpy(self) -> np.ndarray:
        return self.owner.numpy().reshape(self.shape)

    def assign(self, values: np.ndarray) -> None:
        self.owner.assign(values.reshape(self.owner.shape))

    def laid_out(self, shape: Shape, axes: Axes) -> Any:
        return self.owner.laid_out(shape, axes)
