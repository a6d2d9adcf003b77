"""What fer and a process of an engine tell each other besides Caffe's own log lines. Written and parsed here.

The Caffe worker runs under the Python of its pycaffe and without fer, so this file imports nothing of fer and keeps to
Python 3.6. Lines go to stderr, by themselves or as the text of a log line.
"""

import ctypes
import os
import re
import signal
import sys
from typing import Any, List, NamedTuple, Optional, Union

PARENT_PID = "FER_PARENT_PID"
"""The environment variable with the process that a training must not outlive."""
ODOMETER = "FER_ODOMETER"
"""The environment variable with the file that holds how many iterations a training has finished."""
_PR_SET_PDEATHSIG = 1


class Predicted(NamedTuple):
    """So many of the images are scored."""

    done: int
    total: int


class Answered(NamedTuple):
    """So many of the weights files have scored all images, and their answers are written."""

    done: int
    total: int


class Passed(NamedTuple):
    """So many of the batches that statistics are measured on have gone forward."""

    done: int
    total: int


class Replaying(NamedTuple):
    """The data of so many iterations are gone through again before a training goes on; it may take a minute."""

    iterations: int


class Gpu(NamedTuple):
    """A GPU that can be used."""

    number: int
    name: str


COUNTS = (Predicted, Answered, Passed)
Count = Union[Predicted, Answered, Passed]
Message = Union[Count, Replaying, Gpu]

_HEADER = r"(?:[IWEF]\d{4,8} [^\]]*\] )?"
_FORMS = (
    (Predicted, "predicted %d of %d", r"predicted (\d+) of (\d+)"),
    (Answered, "answered %d of %d", r"answered (\d+) of (\d+)"),
    (Passed, "passed %d of %d", r"passed (\d+) of (\d+)"),
    (Replaying, "Replaying the data of %d iterations", r"Replaying the data of (\d+) iterations"),
    (Gpu, "GPU %d: %s", r"GPU (\d+): (.*)"),
)


def text_of(message: Message) -> str:
    """The message as one line of text."""
    return next(form for kind, form, _ in _FORMS if type(message) is kind) % message


def say(message: Message) -> None:
    """Write a message to stderr."""
    print(text_of(message), file=sys.stderr, flush=True)


def parse(line: str) -> Optional[Message]:
    """The message that a line holds, after a log line's header or without one; None for any other line."""
    for kind, _, pattern in _FORMS:
        found = re.match(_HEADER + pattern + r"\s*$", line)
        if found:
            words: List[Any] = [int(word) if word.isdigit() else word for word in found.groups()]
            return kind(*words)
    return None


def stop_when_parent_dies(by: int = signal.SIGTERM) -> None:
    """A killed `fer` must not leave its training running unseen: Linux then sends this process a signal."""
    parent = os.environ.get(PARENT_PID)
    if parent and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(128 + by)


class Odometer:
    """Writes how many iterations are finished to the file that ODOMETER names, so that progress is seen to move.

    Between displays the log is silent, and it is Caffe's own. Without the variable, or where the file cannot be
    written, nothing is shown and nothing stops.
    """

    def __init__(self) -> None:
        path = os.environ.get(ODOMETER)
        self._file: Optional[int] = None
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644) if path else None
        except OSError:
            pass

    def show(self, iteration: int) -> None:
        if self._file is not None:
            try:
                os.pwrite(self._file, b"%012d" % iteration, 0)
            except OSError:
                self._file = None


def read_odometer(path: Any) -> Optional[int]:
    """What an Odometer shows; None where nothing is shown."""
    try:
        with open(str(path), "rb") as stream:
            return int(stream.read(12))
    except (OSError, ValueError):
        return None
