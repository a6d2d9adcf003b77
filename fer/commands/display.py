"""A training's events as a bar: iteration, loss, last val accuracy, images/s, ETA."""

import itertools
import time
from collections.abc import Mapping

from fer.commands.terminal import Bar, brief, say
from fer.report.words import duration
from fer.training.events import Displayed, Estimate, Moved, Notice, Setup, SnapshotSaved, Validation

DAY = 86400.0

SHOWN = 8  # outputs of a test in a line


class TrainingDisplay:
    """Draws the events of `fer.training.train`; a callable, and a context manager that takes the bar away."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._accuracy, self._tested = "", 0
        self._note = ""
        self._over = False

    def __call__(self, event: object) -> None:
        match event:
            case Setup(message):
                say(message)
            case Notice(text):
                say(f"warning: {brief(text)}")
            case Validation(iteration, outputs, accuracy):
                self._validated(iteration, outputs, accuracy)
            case Moved(iteration, max_iter):
                self._reached(iteration, max_iter)
            case Displayed():
                self._iterated(event)
            case Estimate():
                say(_estimate(event))
            case SnapshotSaved(iteration, path):
                say(f"iteration {iteration:,}: snapshot {path}")
                if self._bar is not None and iteration >= self._bar.total:
                    self._end(iteration)

    def _validated(self, iteration: int, outputs: Mapping[str, float], accuracy: str) -> None:
        self._tested = iteration
        self._accuracy = f", val {accuracy} {outputs[accuracy]:.4g}" if accuracy in outputs else ""
        if self._bar is None or not self._bar.live:
            first = [accuracy] if accuracy in outputs else []
            shown = [*first, *(name for name in itertools.islice(outputs, SHOWN) if name != accuracy)][:SHOWN]
            more = f" and {len(outputs) - len(shown):,} more outputs" if len(outputs) > len(shown) else ""
            say(f"iteration {iteration:,}: val {', '.join(f'{name} {outputs[name]:.4g}' for name in shown)}{more}")

    def _iterated(self, event: Displayed) -> None:
        rate = f", {event.images_per_second:,.0f} images/s" if event.images_per_second else ""
        accuracy = self._accuracy and f"{self._accuracy} at {self._tested:,}"
        self._note = f"loss {event.loss:.4g}{accuracy}{rate}"
        self._reached(event.iteration, event.max_iter)

    def _reached(self, iteration: int, max_iter: int) -> None:
        if self._over:
            return
        if self._bar is None:
            self._bar = Bar("train", max_iter, "iter", initial=iteration)
        # A line of the log may speak of an iteration that the engine has left behind.
        self._bar.update(max(iteration, self._bar.done), self._note)

    def _end(self, iteration: int) -> None:
        """All iterations are done; what is still measured is no part of the bar."""
        self._reached(iteration, iteration)
        self._over = True
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _estimate(event: Estimate) -> str:
    """ "about 2 h 05 min to go, until 17:32: 0.75 s an iteration, 5 min 37 s an epoch"."""
    epoch = f", {duration(event.seconds_per_epoch)} an epoch" if event.seconds_per_epoch else ""
    end = time.localtime(time.time() + event.seconds)
    until = time.strftime(
        "%H:%M" if event.seconds < DAY / 2 else "%A %H:%M" if event.seconds < 6 * DAY else "%d %B", end
    )
    return (
        f"about {duration(event.seconds)} to go, until {until}: {event.seconds_per_iteration:.3g} s an iteration{epoch}"
    )
