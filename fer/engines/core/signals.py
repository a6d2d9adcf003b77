"""Signals, acted upon only between iterations, of any rank."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from fer.engines.core.ranks import Ranks
from fer.errors import FerError

EFFECTS = ("stop", "snapshot", "none")
# Seconds within which a signal to one rank is heard by all.
_PROMPT = 0.5


class Signals:
    """What the signals have asked for since the last look: SIGINT and SIGTERM stop, SIGHUP takes a snapshot.

    A second SIGINT (or SIGTERM) ends the process at once.
    """

    def __init__(self) -> None:
        self.stop = 0
        self.snapshot = 0

    def watch(self, sigint: str = "stop", sighup: str = "snapshot") -> None:
        for option, effect in (("sigint_effect", sigint), ("sighup_effect", sighup)):
            if effect not in EFFECTS:
                raise FerError(f'Invalid signal effect "{effect}" for --{option}; there are {", ".join(EFFECTS)}')
        handlers: dict[str, Any] = {"stop": self._stop, "snapshot": self._snapshot, "none": signal.SIG_IGN}
        signal.signal(signal.SIGINT, handlers[sigint])
        signal.signal(signal.SIGHUP, handlers[sighup])
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.stop = number
        signal.signal(number, signal.SIG_DFL)

    def _snapshot(self, _number: int, _frame: FrameType | None) -> None:
        self.snapshot = 1


class Requests:
    """What signals ask of all ranks, who look at the same iterations: so often that half a second passes between."""

    def __init__(self, signals: Signals, ranks: Ranks):
        self._signals, self._ranks = signals, ranks
        self._asked: tuple[int, float] | None = None
        self._next = 0

    def at(self, iteration: int) -> int:
        """The same on every rank: twice the number of a signal to stop, plus 1 where a snapshot is asked for."""
        own = self._signals.stop << 1 | self._signals.snapshot
        if self._ranks.alone:
            return own
        if iteration < self._next:
            return 0
        request, skipped = self._ranks.agree(own, -self._fitting(iteration))
        self._next = iteration - skipped  # what fits for the slowest
        return request

    def _fitting(self, iteration: int) -> int:
        """How many iterations fit into the time between two looks, by those since the last; 1 to 100."""
        now = time.monotonic()
        before, self._asked = self._asked, (iteration, now)
        if before is None or iteration == before[0]:
            return 1
        each = (now - before[1]) / (iteration - before[0])
        return max(1, min(100, int(_PROMPT / max(each, 1e-6))))


@contextlib.contextmanager
def pass_on(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """While open, SIGINT, SIGTERM and SIGHUP go to `child`, which decides what they mean."""

    def send(number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = [signal.signal(number, send) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
