"""Whether a displayed loss says that a training is lost."""

import math

from fer.formats.log_records import SATURATED_TEXT, is_saturated

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
        saturated = is_saturated(loss)
        bad = saturated or loss > max(EXPLODED, EXPLODED_FACTOR * self._first)
        self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
        if self._bad_in_a_row < 2:
            return None
        return f"loss stays at {SATURATED_TEXT}" if saturated else f"loss has exploded to {loss:g}"
