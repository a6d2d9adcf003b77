"""Whether a training is lost, by the losses that it displays."""

import math

SATURATED = 87.3365  # -log of the smallest normal float: what Caffe shows once every probability has died
EXPLODED = 50.0
EXPLODED_FACTOR = 20.0


class LossWatch:
    """Tells when a displayed loss says that the training is lost."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._bad_in_a_row = 0

    def verdict(self, loss: float) -> str | None:
        """What is wrong with this loss, after those before; None while nothing is."""
        if not math.isfinite(loss):
            return f"loss is {loss:g}"
        if self._first is None:
            self._first = loss
        saturated = abs(loss - SATURATED) < 1e-3
        bad = saturated or loss > max(EXPLODED, EXPLODED_FACTOR * self._first)
        self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
        return f"loss has exploded to {loss:g}" if self._bad_in_a_row >= 2 else None
