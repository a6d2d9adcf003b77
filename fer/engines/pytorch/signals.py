"""Signals, acted upon only between iterations; and an end when the parent is gone."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from fer.errors import FerError

EFFECTS = ("stop", "snapshot", "none")
_PR_SET_PDEATHSIG = 1


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


def stop_when_parent_dies() -> None:
    """A killed `fer` must not leave its training running unseen: Linux then sends this process SIGTERM."""
    parent = os.environ.get("FER_PARENT_PID")
    if parent and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(128 + signal.SIGTERM)


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
