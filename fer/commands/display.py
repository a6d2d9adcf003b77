"""A training's events as a bar: iteration, loss, last val accuracy, images/s, ETA."""

import itertools
from collections.abc import Mapping

from fer.commands.terminal import Bar, brief, say
from fer.training.events import Displayed, Notice, Setup, SnapshotSaved, Validation

SHOWN = 8  # outputs of a test in a line


class TrainingDisplay:
    """Draws the events of `fer.training.train`; a callable, and a context manager that takes the bar away."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._accuracy, self._tested = "", 0

    def __call__(self, event: object) -> None:
        match event:
            case Setup(message):
                say(message)
            case Notice(text):
                say(f"warning: {brief(text)}")
            case Validation(iteration, outputs, accuracy):
                self._validated(iteration, outputs, accuracy)
            case Displayed():
                self._iterated(event)
            case SnapshotSaved(iteration, path):
                say(f"iteration {iteration:,}: snapshot {path}")

    def _validated(self, iteration: int, outputs: Mapping[str, float], accuracy: str) -> None:
        self._tested = iteration
        self._accuracy = f", val {accuracy} {outputs[accuracy]:.4g}" if accuracy in outputs else ""
        if self._bar is None or not self._bar.live:
            first = [accuracy] if accuracy in outputs else []
            shown = [*first, *(name for name in itertools.islice(outputs, SHOWN) if name != accuracy)][:SHOWN]
            more = f" and {len(outputs) - len(shown):,} more outputs" if len(outputs) > len(shown) else ""
            say(f"iteration {iteration:,}: val {', '.join(f'{name} {outputs[name]:.4g}' for name in shown)}{more}")

    def _iterated(self, event: Displayed) -> None:
        if self._bar is None:
            self._bar = Bar("train", event.max_iter, "iter", initial=event.iteration)
        rate = f", {event.images_per_second:,.0f} images/s" if event.images_per_second else ""
        accuracy = self._accuracy and f"{self._accuracy} at {self._tested:,}"
        self._bar.update(event.iteration, f"loss {event.loss:.4g}{accuracy}{rate}")

    def accuracy_at(self, iteration: int) -> str:
        """ ", val accuracy 0.44" as measured at this very iteration; empty where none was."""
        return self._accuracy if self._tested == iteration else ""

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()
