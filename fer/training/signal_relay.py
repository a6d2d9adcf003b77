"""The signals that a training gets, on their way to the engine."""

import signal
import threading
from types import FrameType
from typing import Any

from fer.engines.engine import Engine
from fer.engines.process import Child

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalRelay:
    """While open, passes the signals we get on to the engine: stop and save, stop now (the second), save and go on."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.stopped_by: int | None = None
        self.killed = False
        self._pending: list[int] = []
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "SignalRelay":
        # Only the main thread may set handlers; elsewhere the program that calls us has its own.
        if threading.current_thread() is threading.main_thread():
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                self._old[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._pending.append(number)

    def deliver(self, child: Child) -> None:
        """Pass on what has come since the last time."""
        while self._pending:
            number = self._pending.pop(0)
            if number == signal.SIGHUP:
                child.send(number)
            elif self.stopped_by is None:
                self.stopped_by = number
                child.send(self.engine.stop_signal(number))
            else:
                self.killed = True
                child.kill()
