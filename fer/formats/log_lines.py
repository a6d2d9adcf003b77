"""The lines of Caffe's training log: one table that both writes and reads them.

    read_line(format_line(Lr(100, 0.01), datetime.now())) == Lr(100, 0.01)

A row of ``LINES`` ties an event class to a line's text. ``format_line`` fills the text in, ``read_line`` matches the
regular expression made from the same text. Dialects other than BVLC Caffe 1.0's are further rows.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple, TextIO

from fer.formats.log_grammar import Line, show


@dataclass(frozen=True)
class Event:
    """One line of the log that says something about training. Subclasses are frozen dataclasses."""

    severity: ClassVar[str] = "I"


@dataclass(frozen=True)
class Solving(Event):
    """The solver starts; `name` is the net's (may be empty). NVCaffe says the policy in the same line."""

    name: str = ""
    policy: str | None = None


@dataclass(frozen=True)
class Policy(Event):
    policy: str


@dataclass(frozen=True)
class Resuming(Event):
    """A solver state is restored from `path`; "" where the line does not say it."""

    path: str = ""


@dataclass(frozen=True)
class Testing(Event):
    iteration: int
    net: int = 0


@dataclass(frozen=True)
class TestLoss(Event):
    """The test nets' mean loss, printed with `test_compute_loss` only."""

    __test__: ClassVar[bool] = False  # not a pytest class
    loss: float


@dataclass(frozen=True)
class Output(Event):
    """One number a net produced. `weight` is its loss weight, None for outputs that are no loss."""

    index: int
    name: str
    value: float
    weight: float | None = None

    @property
    def weighted(self) -> float | None:
        return None if self.weight is None else self.weight * self.value


@dataclass(frozen=True)
class TestOutput(Output):
    __test__: ClassVar[bool] = False


@dataclass(frozen=True)
class TrainOutput(Output):
    pass


@dataclass(frozen=True)
class TestScore(Event):
    """One number a test net produced, in the logs of before July 2014, which name none."""

    __test__: ClassVar[bool] = False
    index: int
    value: float


@dataclass(frozen=True)
class TrainScore(TestScore):
    """The same of the net that is trained."""


@dataclass(frozen=True)
class Iteration(Event):
    """The displayed loss, smoothed over `average_loss`; `rate` in iterations/s, `elapsed` seconds for `interval`."""

    iteration: int
    loss: float
    rate: float | None = None
    elapsed: float | None = None
    interval: int | None = None


@dataclass(frozen=True)
class Lr(Event):
    iteration: int
    lr: float


@dataclass(frozen=True)
class Step(Event):
    """A `multistep` boundary was crossed."""

    iteration: int
    step: int


@dataclass(frozen=True)
class Snapshotting(Event):
    """A .caffemodel is about to be written."""

    path: str


@dataclass(frozen=True)
class SnapshottingState(Event):
    """A .solverstate is about to be written."""

    path: str


@dataclass(frozen=True)
class StoppedEarly(Event):
    pass


@dataclass(frozen=True)
class Done(Event):
    pass


@dataclass(frozen=True)
class Fatal(Event):
    """A CHECK failed: Caffe's own last words."""

    severity: ClassVar[str] = "F"
    message: str


# For writing, the first row whose fields the event has; for reading, the first row that matches (the commonest first).
LINES: tuple[Line[Event], ...] = (
    Line(TestOutput, "    Test net output #{index}: {name} = {value} (* {weight} = {weighted} loss)", "solver.cpp:414"),
    Line(TestOutput, "    Test net output #{index}: {name} = {value}", "solver.cpp:414"),
    Line(
        TrainOutput, "    Train net output #{index}: {name} = {value} (* {weight} = {weighted} loss)", "solver.cpp:258"
    ),
    Line(TrainOutput, "    Train net output #{index}: {name} = {value}", "solver.cpp:258"),
    Line(Solving, "Solving {name} Learning Rate Policy: {policy}", "solver.cpp:411"),
    Line(Solving, "Solving {name}", "solver.cpp:289"),
    Line(Solving, "Solving", "solver.cpp:289"),
    Line(Policy, "Learning Rate Policy: {policy}", "solver.cpp:290"),
    Line(Testing, "Iteration {iteration}, Testing net (#{net})", "solver.cpp:347"),
    Line(Testing, "Iteration {iteration}, Testing net", "solver.cpp:87"),  # before August 2014
    Line(TestLoss, "Test loss: {loss}", "solver.cpp:401"),
    Line(TestOutput, "    Test net output mAP #{index}: {name} = {value}", "solver.cpp:712"),  # NVCaffe's detection
    Line(TestScore, "Test score #{index}: {value}", "solver.cpp:114"),
    Line(
        Iteration, "Iteration {iteration} ({rate} iter/s, {elapsed}s/{interval} iters), loss = {loss}", "solver.cpp:239"
    ),
    Line(Iteration, "Iteration {iteration}, loss = {loss}", "solver.cpp:327"),
    # NVCaffe: "iter)", and later versions the epoch: "(8.5 iter/s, 12s/100 iter), 0.3/90ep, loss = 1"
    Line(
        Iteration, "Iteration {iteration} ({rate} iter/s, {elapsed}s/{interval} iter){_}, loss = {loss}", "solver.cpp:1"
    ),
    Line(Iteration, "Iteration {iteration} ({_}){_}, loss = {loss}", "solver.cpp:1"),
    Line(TrainScore, "    Training score #{index}: {value}", "solver.cpp:1"),
    Line(Step, "MultiStep Status: Iteration {iteration}, step = {step}", "sgd_solver.cpp:50"),
    Line(Lr, "Iteration {iteration}, lr = {lr}", "sgd_solver.cpp:112"),
    # NVCaffe: momentum and decay behind it; before that, the rate in front of it
    Line(Lr, "Iteration {iteration}, lr = {lr},{_}", "sgd_solver.cpp:1"),
    Line(Lr, "Iteration {iteration} ({_}), lr = {lr}", "sgd_solver.cpp:1"),
    Line(Snapshotting, "Snapshotting to binary proto file {path}", "solver.cpp:464"),
    Line(SnapshottingState, "Snapshotting solver state to binary proto file {path}", "sgd_solver.cpp:284"),
    Line(Snapshotting, "Snapshotting to HDF5 file {path}", "solver.cpp:1"),
    Line(SnapshottingState, "Snapshotting solver state to HDF5 file {path}", "solver.cpp:1"),
    Line(Snapshotting, "Snapshotting to {path}", "solver.cpp:1"),
    Line(SnapshottingState, "Snapshotting solver state to {path}", "solver.cpp:1"),
    Line(Resuming, "Resuming from {path}", "caffe.cpp:248"),
    Line(Resuming, "Restoring previous solver status from {path}", "solver.cpp:1"),
    Line(Resuming, "SGDSolver: restoring history", "sgd_solver.cpp:1"),  # all that pycaffe's restore says
    Line(StoppedEarly, "Optimization stopped early.", "solver.cpp:301"),
    Line(Done, "Optimization Done.", "solver.cpp:332"),
    Line(Done, "Optimization Done{_}", "solver.cpp:1"),
)

_ROWS = {event: [line for line in LINES if line.event is event] for event in {line.event for line in LINES}}

# Seen of the thread: decimal numbers, and macOS' and Windows' in hexadecimal; of the source: a path of Windows' too.
HEADER = re.compile(
    r"(?P<severity>[IWEF])(?P<date>[0-9]{8}|[0-9]{4}) (?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?) +"
    r"(?P<thread>[0-9a-fx]{1,20}) (?P<source>[^\]]{1,300}?:[0-9]{1,7})\] ?"
)
LONGEST = 4096
"""Characters of a message that may be an event: the longest name of a file fits in."""


class Said(NamedTuple):
    """One message of a log: who said it, when, and what it was; `cut` where another began before it had ended."""

    severity: str
    date: str
    time: str
    thread: str
    source: str
    message: str
    cut: bool = False


def said_in(line: str) -> Iterator[Said]:
    """The messages of one line: one, unless the first was cut off or programs that write at once mixed up theirs."""
    # Each header ends in a bracket: with one of them there is no need to look through the whole line.
    headers = [*HEADER.finditer(line)] if line.count("]") > 1 else [*filter(None, [HEADER.search(line)])]
    ends = [*(header.start() for header in headers[1:]), len(line)]
    for number, (header, end) in enumerate(zip(headers, ends, strict=False), 1):
        severity, date, time, thread, source = header.groups()
        yield Said(severity, date, time, thread, source, line[header.end() : end], number < len(headers))


def read_line(line: str) -> Event | None:
    """The event of one line, None where the line says nothing about training."""
    return next((event_of(said.severity, said.message) for said in said_in(line)), None)


def event_of(severity: str, message: str) -> Event | None:
    """The event of a message."""
    message = message.rstrip()
    if severity == "F":
        return Fatal(message[:LONGEST].strip())
    if len(message) > LONGEST:
        return None
    return next((event for line in LINES if (event := line.match(message)) is not None), None)


def format_line(event: Event, when: datetime, thread: int = 1) -> str:
    """Caffe's line (without the line end) for an event; 8-digit date, six significant digits."""
    if isinstance(event, Fatal):
        source, text = "solver.cpp:1", show(event.message)
    else:
        rows = _ROWS[type(event)]
        source, text = next((line.source, filled) for line in rows if (filled := line.fill(event)) is not None)
    return f"{event.severity}{when:%Y%m%d %H:%M:%S.%f} {thread:>5} {source}] {text}"


class LogWriter:
    """Writes events as Caffe's log lines, each flushed at once so that a reader can follow."""

    def __init__(self, stream: TextIO, now: Callable[[], datetime] = datetime.now):
        self._stream, self._now, self._thread = stream, now, os.getpid()

    def __call__(self, event: Event) -> None:
        self._stream.write(format_line(event, self._now(), self._thread) + "\n")
        self._stream.flush()
