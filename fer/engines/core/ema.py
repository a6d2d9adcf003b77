"""The exponential moving average that a training keeps of its weights, and its place beside a snapshot.

BatchNorm's three blobs are averaged as they are: sums of means and of variances, and of their weights, so that sum over
weight is a weighted mean of the statistics of all iterations, as the weights' average is one of all weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.engines.core.ranks import Ranks
from fer.engines.core.training import Training
from fer.errors import FerError


class Averaging:
    """The average of a training's weights, which begins with the weights as they are."""

    def __init__(self, training: Training, decay: float):
        """Raises FerError for a decay that averages nothing."""
        if not 0 < decay < 1:
            raise FerError(f"--ema is {decay:g}; it must be over 0 and less than 1")
        self._ema = training.ema()
        self._decay = decay

    def begin(self) -> None:
        """Forget what was, and begin with the weights as they are now."""
        self._ema.take(0)

    def follow(self, iteration: int) -> None:
        """Take in the weights after the update of `iteration` (from 0)."""
        self._ema.take(decay_at(self._decay, iteration))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While open, the net's parameters are the average."""
        self._ema.swap()
        try:
            yield
        finally:
            self._ema.swap()


def averaging(training: Training, decay: float | None, ranks: Ranks) -> Averaging | None:
    """What keeps the average, if one is to be kept: the first rank, as all have the same weights."""
    return Averaging(training, decay) if decay is not None and ranks.rank == 0 else None


def decay_at(decay: float, iteration: int) -> float:
    """The decay after the update of `iteration` (from 0): less at first, to forget the initial weights soon.

    The rule of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + iteration) / (10 + iteration))


def ema_file(snapshot: Path) -> Path:
    """The average beside `X_iter_N.caffemodel` or `X_iter_N.solverstate`: `X_ema_N.caffemodel`; HDF5 where that is."""
    stem, _, number = snapshot.name.rpartition("_iter_")
    return snapshot.with_name(f"{stem}_ema_{number.replace('.solverstate', '.caffemodel')}")
