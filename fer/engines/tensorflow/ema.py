"""The exponential moving average of variables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.tensorflow.layer import Tensor


class Ema:
    """See `fer.engines.core.framework.Ema`."""

    def __init__(self, variables: Sequence[Any]):
        self._variables = list(variables)
        self._averages = [tf.Variable(variable) for variable in self._variables]
        self._move = tf.function(self._moved)

    def take(self, decay: float) -> None:
        """Become `decay` times what it was plus (1 - decay) times the parameters; 0: exactly the parameters."""
        self._move(np.float32(decay))

    def _moved(self, decay: Tensor) -> None:
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(variable + decay * (average - variable))

    def swap(self) -> None:
        """Exchange the numbers of the average and of the parameters."""
        for average, variable in zip(self._averages, self._variables, strict=True):
            before = tf.identity(average)
            average.assign(variable)
            variable.assign(before)
