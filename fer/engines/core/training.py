"""A net's training, as a framework does it: passes, updates, and the average of the weights.

Numbers of a pass stay where the framework computes them (`Value`): they may be added, and divided by an int, and are
fetched by `Net.host` or `Training.mean` only when a line is to be written.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Value: TypeAlias = Any


class Ema(Protocol):
    """The exponential moving average of a net's parameters, those that nothing is learnt for and BatchNorm's statistics
    among them; it begins with the parameters as they are."""

    def take(self, decay: float) -> None:
        """Become `decay` times what it was plus (1 - decay) times the parameters; 0: exactly the parameters."""
        ...

    def swap(self) -> None:
        """Exchange the numbers of the average and of the parameters."""
        ...


class Training(Protocol):
    """A net's training: passes whose gradients add up, and the update rule."""

    def clear(self) -> None:
        """Forget the gradients of the passes so far."""
        ...

    def run_pass(self) -> Value:
        """A forward and a backward pass on the next batch; the loss."""
        ...

    def outputs(self) -> list[np.ndarray]:
        """The net's outputs of the last pass, averaged over the ranks."""
        ...

    def mean(self, losses: Sequence[Value]) -> float:
        """The mean of these losses, averaged over the ranks."""
        ...

    def average_gradients(self) -> None:
        """Average the gradients over the ranks."""
        ...

    def update(self, iteration: int, rate: float) -> float | None:
        """Update every parameter from its gradient, by the solver's rule, with the rate of this iteration.

        The gradients' L2 norm where it exceeded clip_gradients, as far as it is known without waiting for a device.
        """
        ...

    def history(self) -> list[np.ndarray]:
        """Caffe's history blobs, float32: one per learnable parameter, or all first and then all second."""
        ...

    def ema(self) -> Ema:
        """An average of the parameters, of this rank alone."""
        ...

    def load_history(self, rows: Sequence[np.ndarray], *, legacy: bool = False) -> None:
        """Take over a solver state's history (`legacy`: with four axes each); FerError where it is of another net."""
        ...
