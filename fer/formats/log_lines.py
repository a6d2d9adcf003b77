"""The lines of Caffe's training log: one table that both writes and reads them.

    read_line(format_line(Lr(100, 0.01), datetime.now())) == Lr(100, 0.01)

A row of ``LINES`` ties an event class to a line's text. ``format_line`` fills the text in, ``read_line`` matches the
regular expression made from the same text. Dialects other than BVLC Caffe 1.0's are further rows.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, TextIO, get_type_hints


@dataclass(frozen=True)
class Event:
    """One line of the log that says something about training. Subclasses are frozen dataclasses."""

    severity: ClassVar[str] = "I"


@dataclass(frozen=True)
class Solving(Event):
    """The solver starts; `name` is the net's (may be empty)."""

    name: str


@dataclass(frozen=True)
class Policy(Event):
    policy: str


@dataclass(frozen=True)
class Resuming(Event):
    """A solver state is restored from `path`."""

    path: str


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


NUMBER = r"[-+]?(?:nan(?:\(\w*\))?|inf(?:inity)?|1\.#\w+|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
PATTERNS = {int: r"[-+]?\d+", float: NUMBER, str: r".*?"}


@dataclass(frozen=True)
class Line:
    """A row of the grammar: the event, the text with its fields in braces ("{_}": anything), and the source named."""

    event: type[Event]
    text: str
    source: str
    pattern: re.Pattern[str] = field(init=False, repr=False)
    casts: dict[str, Callable[[str], Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        types = {name: _plain(hint) for name, hint in get_type_hints(self.event).items()}
        parts = re.split(r"\{(\w+)\}", self.text.strip())
        regex = "".join(
            re.escape(part) if index % 2 == 0 else _group(part, types.get(part, float))
            for index, part in enumerate(parts)
        )
        names = {f.name for f in fields(self.event)}
        casts = {name: _CASTS[types[name]] for name in parts[1::2] if name in names}
        object.__setattr__(self, "pattern", re.compile(rf"(?:^|[\s\])>]){regex}\s*$", re.IGNORECASE))
        object.__setattr__(self, "casts", casts)

    def match(self, message: str) -> Event | None:
        found = self.pattern.search(message)
        return self.event(**{name: cast(found[name]) for name, cast in self.casts.items()}) if found else None

    def fill(self, event: Event) -> str | None:
        """The text with the event's values, or None where the event lacks one of them."""
        names = re.findall(r"\{(\w+)\}", self.text)
        values = {name: getattr(event, name, None) for name in names}
        if any(value is None for value in values.values()):
            return None
        return self.text.format(**{name: _show(value) for name, value in values.items()})


def _plain(hint: Any) -> type:
    """The type of an annotation without its `| None`."""
    plain: type = next((t for t in getattr(hint, "__args__", ()) if t is not type(None)), hint)
    return plain


def _group(name: str, type_: type) -> str:
    return ".*?" if name == "_" else f"(?P<{name}>{PATTERNS[type_]})"


def _to_float(text: str) -> float:
    """A number as C++ prints it, on Windows too (`1.#QNAN`, `-1.#IND`, `1.#INF`)."""
    if "#" in text:
        text = "inf" if "inf" in text.lower() else "nan"
    return float(text.split("(")[0])


_CASTS: dict[type, Callable[[str], Any]] = {int: int, float: _to_float, str: str}


def _show(value: object) -> str:
    """As a C++ stream prints it: six significant digits."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.splitlines())


# For writing, the first row whose fields the event has; for reading, the first row that matches.
LINES = (
    Line(Solving, "Solving {name}", "solver.cpp:289"),
    Line(Policy, "Learning Rate Policy: {policy}", "solver.cpp:290"),
    Line(Testing, "Iteration {iteration}, Testing net (#{net})", "solver.cpp:347"),
    Line(TestLoss, "Test loss: {loss}", "solver.cpp:401"),
    Line(TestOutput, "    Test net output #{index}: {name} = {value} (* {weight} = {weighted} loss)", "solver.cpp:414"),
    Line(TestOutput, "    Test net output #{index}: {name} = {value}", "solver.cpp:414"),
    Line(
        Iteration, "Iteration {iteration} ({rate} iter/s, {elapsed}s/{interval} iters), loss = {loss}", "solver.cpp:239"
    ),
    Line(Iteration, "Iteration {iteration}, loss = {loss}", "solver.cpp:327"),
    # NVCaffe: "iter)", and later versions the epoch: "(8.5 iter/s, 12s/100 iter), 0.3/90ep, loss = 1"
    Line(
        Iteration, "Iteration {iteration} ({rate} iter/s, {elapsed}s/{interval} iter){_}, loss = {loss}", "solver.cpp:1"
    ),
    Line(Iteration, "Iteration {iteration} ({_}){_}, loss = {loss}", "solver.cpp:1"),
    Line(
        TrainOutput, "    Train net output #{index}: {name} = {value} (* {weight} = {weighted} loss)", "solver.cpp:258"
    ),
    Line(TrainOutput, "    Train net output #{index}: {name} = {value}", "solver.cpp:258"),
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
    Line(StoppedEarly, "Optimization stopped early.", "solver.cpp:301"),
    Line(Done, "Optimization Done.", "solver.cpp:332"),
    Line(Done, "Optimization Done{_}", "solver.cpp:1"),
)

HEADER = re.compile(
    r"(?P<severity>[IWEF])(?P<date>\d{8}|\d{4}) (?P<time>\d\d:\d\d:\d\d(?:\.\d+)?) +(?P<thread>\d+) "
    r"(?P<source>[^\s\]]+:\d+)\] ?(?P<message>.*)"
)


def read_line(line: str) -> Event | None:
    """The event of one line, None where the line says nothing about training."""
    header = HEADER.search(line)
    return event_of(header["severity"], header["message"]) if header else None


def event_of(severity: str, message: str) -> Event | None:
    if severity == "F":
        return Fatal(message.strip())
    return next((event for line in LINES if (event := line.match(message)) is not None), None)


def format_line(event: Event, when: datetime, thread: int = 1) -> str:
    """Caffe's line (without the line end) for an event; 8-digit date, six significant digits."""
    if isinstance(event, Fatal):
        source, text = "solver.cpp:1", _show(event.message)
    else:
        source, text = next(
            (line.source, filled)
            for line in LINES
            if line.event is type(event) and (filled := line.fill(event)) is not None
        )
    return f"{event.severity}{when:%Y%m%d %H:%M:%S.%f} {thread:>5} {source}] {text}"


class LogWriter:
    """Writes events as Caffe's log lines, each flushed at once so that a reader can follow."""

    def __init__(self, stream: TextIO, now: Callable[[], datetime] = datetime.now):
        self._stream, self._now, self._thread = stream, now, os.getpid()

    def __call__(self, event: Event) -> None:
        self._stream.write(format_line(event, self._now(), self._thread) + "\n")
        self._stream.flush()
