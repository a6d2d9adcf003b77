"""A net's training on TensorFlow: a pass and an update, each one graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.tensorflow.ema import Ema
from fer.engines.tensorflow.faults import spoken
from fer.engines.tensorflow.layer import Tensor
from fer.engines.tensorflow.net import Net
from fer.engines.tensorflow.updates import Updater
from fer.schema import caffe_pb2


class Training:
    """See `fer.engines.core.framework.Training`. It trains by itself: there are no other ranks."""

    def __init__(self, net: Net, solver: caffe_pb2.SolverParameter):
        self.net = net
        self.updater = Updater(net.learnable, solver)
        self.history = self.updater.history
        self.load_history = self.updater.load_history
        self._gradients: list[Tensor] | None = None
        self._outputs: list[Tensor] = []
        self._pass = tf.function(self._differentiate)

    def clear(self) -> None:
        """Forget the gradients of the passes so far."""
        self._gradients = None

    def run_pass(self) -> Tensor:
        """A forward and a backward pass on the next batch; the loss."""
        with spoken(self.net):
            loss, self._outputs, gradients = self._pass(*self.net.feeds())
        self._gradients = self.updater.add(self._gradients, gradients)
        return loss

    def _differentiate(self, fed: Any, seeds: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        trained = self.updater.trained
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            loss, blobs = self.net.compute(fed, seeds)
        gradients = tape.gradient(loss, trained, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, self.net.outputs_of(blobs), list(map(tf.convert_to_tensor, gradients))

    def ema(self) -> Ema:
        """An average of the parameters."""
        return Ema([learned.parameter.variable for learned in self.net.learnable])

    def outputs(self) -> list[np.ndarray]:
        """The net's outputs of the last pass."""
        return [self.net.host(value) for value in self._outputs]

    def mean(self, losses: Sequence[Tensor]) -> float:
        """The mean of these losses."""
        return float(np.mean([self.net.host(loss) for loss in losses], dtype=np.float32))

    def average_gradients(self) -> None:
        """There are no other ranks."""

    def update(self, iteration: int, rate: float) -> float | None:
        """Update every parameter from its gradient, with the rate of this iteration.

        The gradients' L2 norm where it exceeded clip_gradients.
        """
        gradients, self._gradients = self._gradients or [], None
        return self.updater.apply(gradients, iteration, rate)
