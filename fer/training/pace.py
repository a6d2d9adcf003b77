"""Where a training stands between its displays, how long it will take, and whether another engine would be quicker."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

from fer.engines.caffe import ipc
from fer.engines.engine import Engine
from fer.engines.measured import TIMES_CAFFE
from fer.system.hardware import native_bf16
from fer.training.events import Estimate, Moved, Notice, Tell

TIMED = 20  # iterations that an estimate is made from; of slow ones
TIMED_SECONDS = 60.0  # as many as this takes, if they are
FEWEST = 3
HOUR = 3600.0


class Pace:
    """Watches one training; tells Moved, and once an Estimate.

    An engine of ours shows each iteration on its odometer. Of any other the displayed ones are known, and between
    those the clock goes on at their pace. `epoch`: iterations of one, 0 where that is not known.
    """

    def __init__(
        self,
        odometer: Path,
        tell: Tell,
        start: int,
        max_iter: int,
        display: int = 0,
        test_interval: int = 0,
        epoch: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.odometer = odometer
        self._tell = tell
        self._max_iter, self._display, self._test_interval = max_iter, display, test_interval
        self._epoch = epoch
        self._clock = clock
        self._start = self._told = start
        self._first: tuple[int, float] | None = None
        self._latest = (start, clock())
        self._per_iteration: float | None = None
        self._estimated = False
        self._test_began: float | None = None
        self._test_seconds: float | None = None  # of one
        self._tested = 0.0  # seconds, of all since the first iteration that was timed
        odometer.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the odometer."""
        self.odometer.unlink(missing_ok=True)

    def feed(self, line: str) -> None:
        """A line of the log: a test is timed from its beginning to its results."""
        if "Testing net" in line:
            self._test_began = self._clock()
        elif "Test net output" in line and self._test_began is not None:
            self._test_seconds = self._clock() - self._test_began
            self._tested += self._test_seconds
            self._test_began = None

    def displayed(self, iteration: int) -> None:
        """The log shows an iteration."""
        self._told = max(self._told, iteration)
        self._reach(iteration)

    def look(self) -> None:
        """Called a few times a second."""
        shown = ipc.read_odometer(self.odometer)
        if shown is not None:
            self._reach(shown)
        reached = self._by_the_clock() if shown is None else shown
        if reached > self._told:
            self._told = reached
            self._tell(Moved(reached, self._max_iter))

    def _by_the_clock(self) -> int:
        """Never as far as the next display, which knows better."""
        iteration, then = self._latest
        if not self._per_iteration or not self._display or self._test_began is not None:
            return iteration
        ahead = int((self._clock() - then) / self._per_iteration)
        return min(iteration + min(ahead, self._display - 1), self._max_iter)

    def _reach(self, iteration: int) -> None:
        if iteration <= self._latest[0]:
            return
        now = self._clock()
        self._latest = iteration, now
        if self._first is None:  # what came before it was setting up
            self._first, self._tested = self._latest, 0.0
            return
        timed, seconds = iteration - self._first[0], now - self._first[1] - self._tested
        self._per_iteration = max(seconds, 0.0) / timed
        if not self._estimated and (timed >= TIMED or (timed >= FEWEST and seconds >= TIMED_SECONDS)):
            self._estimated = True
            epoch = self._epoch * self._per_iteration or None
            self._tell(Estimate(self._left(iteration, self._per_iteration), self._per_iteration, epoch))

    def _left(self, iteration: int, per_iteration: float) -> float:
        tests = self._max_iter // self._test_interval - iteration // self._test_interval if self._test_interval else 0
        return (self._max_iter - iteration) * per_iteration + tests * (self._test_seconds or 0.0)


def quicker_engine(engine: Engine, *, on_gpu: bool, seconds: float) -> Notice | None:
    """That PyTorch, which is installed, would save hours of real Caffe's on a CPU; else None.

    By the figures that were measured, as no engine is timed here beside the one at work.
    """
    if engine.name != "caffe" or on_gpu or seconds < HOUR or importlib.util.find_spec("torch") is None:
        return None
    precision = "bf16" if native_bf16() else "fp32"
    shares = " and ".join(f"{100 / times:.0f}% for {net}" for net, times in TIMES_CAFFE[precision].items())
    option = "--engine pytorch" + " --precision auto" * (precision == "bf16")
    return Notice(f"{option} took {shares} of real Caffe's time on two cores (README, Speed); Ctrl-C saves")
