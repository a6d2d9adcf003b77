"""The exponential moving average of a training's weights: its decay, and its place beside a snapshot."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.engines.core.framework import Ema


def decay_at(decay: float, iteration: int) -> float:
    """The decay after the update of `iteration` (from 0): less at first, to forget the initial weights soon.

    The rule of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """
    return min(decay, (1 + iteration) / (10 + iteration))


def ema_file(snapshot: Path) -> Path:
    """The average beside `X_iter_N.caffemodel` or `X_iter_N.solverstate`: `X_ema_N.caffemodel`; HDF5 where that is."""
    stem, _, number = snapshot.name.rpartition("_iter_")
    return snapshot.with_name(f"{stem}_ema_{number.replace('.solverstate', '.caffemodel')}")


@contextmanager
def shown(ema: Ema) -> Iterator[None]:
    """While open, the net's parameters are the average."""
    ema.swap()
    try:
        yield
    finally:
        ema.swap()
