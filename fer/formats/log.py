"""Caffe's training log as records and curves; the lines themselves are written and read by ``fer.formats.log_lines``.

log = parse_log("train.log")                 # BVLC old and new, NVCaffe, resumed, truncated, with nan
log.curve("test")[-1].outputs["accuracy"]
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from fer.errors import FerError
from fer.formats.log_lines import (
    HEADER,
    Done,
    Event,
    Fatal,
    Iteration,
    Lr,
    Policy,
    Resuming,
    Snapshotting,
    Solving,
    Step,
    StoppedEarly,
    Testing,
    TestLoss,
    TestOutput,
    TrainOutput,
    event_of,
    read_line,
)


@dataclass(frozen=True)
class LogRecord:
    """What the log says of one iteration of one net.

    phase    "train" or "test"
    seconds  since the log's first line
    lr       train only: the rate of this iteration's step
    loss     train: the displayed loss; test: the "Test loss" line (`test_compute_loss`)
    outputs  by name, in order; a name met again becomes name#2, name#3 ...
    net      the test net's number
    """

    iteration: int
    phase: str
    seconds: float
    lr: float | None = None
    loss: float | None = None
    outputs: dict[str, float] = field(default_factory=dict)
    net: int = 0


@dataclass(frozen=True)
class Log:
    """A whole log. `records` keeps the file's order and repeats; `curve` is what a figure should show."""

    records: tuple[LogRecord, ...] = ()
    snapshots: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    net_name: str = ""
    policy: str = ""
    optimization_done: bool = False
    stopped_early: bool = False
    fatal: str | None = None
    truncated: bool = False
    seconds: float = 0.0

    def curve(self, phase: str, net: int = 0) -> list[LogRecord]:
        """The records of one net by rising iteration. Where a resumed run went back, what it left behind is dropped."""
        curve: dict[tuple[str, int, int], LogRecord] = {}
        newest = 0
        for record in self.records:
            if record.iteration < newest:
                curve = {key: old for key, old in curve.items() if old.iteration <= record.iteration}
            newest = record.iteration
            curve[record.phase, record.net, record.iteration] = record
        wanted = (record for record in curve.values() if (record.phase, record.net) == (phase, net))
        return sorted(wanted, key=lambda record: record.iteration)

    def test_nets(self) -> list[int]:
        return sorted({record.net for record in self.records if record.phase == "test"})


class LogAssembler:
    """Makes records of a log's lines, of a file's and of a run's that still goes on alike.

    A train record is the displayed loss and the rate of one iteration, in either order, with the outputs between or
    behind them; a test record a test net's outputs. Either is finished by the first line that is no part of it; a
    train record already by the rate behind its loss, so that it need not wait for the next line.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._records: list[LogRecord] = []  # finished
        self._newest: LogRecord | None = None  # what the next line may be a part of, finished or not
        self._log = Log()
        self.lines = self.events = 0

    def feed(self, line: str) -> list[LogRecord | Event]:
        """What one whole line finishes: records, then the line's own event, where that is no part of a record."""
        self.lines += 1
        header = HEADER.search(line)
        if header is None:
            return []
        seconds = self._clock.seconds(header["date"], header["time"])
        event = event_of(header["severity"], header["message"])
        if seconds is None or event is None:
            return []
        self.events += 1
        self._log = replace(self._log, seconds=seconds)
        return self._take(event, seconds)

    def finish(self) -> list[LogRecord]:
        """The record that no more lines will come for, if there is one."""
        if self._newest is None or self._is_finished():
            return []
        self._records.append(self._newest)
        return [self._newest]

    def _is_finished(self) -> bool:
        return bool(self._records) and self._records[-1] is self._newest

    def log(self, *, truncated: bool = False) -> Log:
        """All that is finished."""
        return replace(self._log, records=tuple(self._records), truncated=truncated)

    def _take(self, event: Event, seconds: float) -> list[LogRecord | Event]:
        match event:
            case Iteration(iteration, loss):
                return [*self._train(iteration, seconds, loss=loss)]
            case Lr(iteration, lr):
                return [*self._train(iteration, seconds, lr=lr)]
            case Testing(iteration, net):
                return [*self._start(LogRecord(iteration, "test", seconds, net=net))]
            case TestLoss(loss):
                if self._newest and self._newest.phase == "test":
                    self._newest = replace(self._newest, loss=loss)
                return []
            case TestOutput(_, name, value):
                return self._output("test", name, value)
            case TrainOutput(_, name, value):
                return self._output("train", name, value)
            case Step():  # said between the loss and its rate
                return [event]
        self._note(event)
        finished = self.finish()
        self._newest = None
        return [*finished, event]

    def _note(self, event: Event) -> None:
        facts: dict[str, Any] = {}
        match event:
            case Snapshotting(path):
                facts = {"snapshots": (*self._log.snapshots, path)}
            case Resuming(path):
                facts = {"resumed": (*self._log.resumed, path), "optimization_done": False, "stopped_early": False}
            case Solving(name):
                facts = {"net_name": name, "optimization_done": False, "stopped_early": False, "fatal": None}
            case Policy(policy):
                facts = {"policy": policy}
            case StoppedEarly():
                facts = {"stopped_early": True}
            case Done():
                facts = {"optimization_done": True}
            case Fatal(message):
                facts = {"fatal": message}
        self._log = replace(self._log, **facts)

    def _start(self, record: LogRecord) -> list[LogRecord]:
        finished = self.finish()
        self._newest = record
        return finished

    def _train(
        self, iteration: int, seconds: float, *, loss: float | None = None, lr: float | None = None
    ) -> list[LogRecord]:
        """A loss or a rate, which is of the newest record where that is of this iteration and has none yet."""
        record, finished = self._newest, []
        if record is None or (record.phase, record.iteration) != ("train", iteration):
            record = LogRecord(iteration, "train", seconds)
        elif lr is not None and record.lr is not None:
            return []  # each GPU of a multi-GPU training says it
        if record.loss is not None and loss is not None:
            record = LogRecord(iteration, "train", seconds)
        if record is not self._newest:
            finished = self._start(record)
        self._newest = replace(record, lr=record.lr if lr is None else lr, loss=record.loss if loss is None else loss)
        if record.loss is not None:
            finished += self.finish()
        return finished

    def _output(self, phase: str, name: str, value: float) -> list[LogRecord | Event]:
        """An output of the newest record; one of no record (the log's beginning is missing) is left out."""
        if self._newest and self._newest.phase == phase:
            outputs = self._newest.outputs
            unique, copy = name, 1
            while unique in outputs:
                copy += 1
                unique = f"{name}#{copy}"
            outputs[unique] = value
        return []


class _Clock:
    """Seconds since the first line, never falling.

    Short dates have no year: a fall of more than half a year is a New Year, and the year is a leap year once a
    29 February was met in it.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._latest = 0
        self._day, self._days_before, self._leap = 0, 0, False

    def seconds(self, day: str, time: str) -> float | None:
        """None where the date or time does not exist."""
        try:
            days = self._short(int(day[:2]), int(day[2:])) if len(day) == 4 else self._long(day)
            hours, minutes, rest = int(time[:2]), int(time[3:5]), round(float(time[6:]) * 1e6)
        except ValueError:
            return None
        now = ((days * 24 + hours) * 60 + minutes) * 60_000_000 + rest  # microseconds, whole: nothing is rounded
        self._first = now if self._first is None else self._first
        self._latest = max(self._latest, now - self._first)
        return self._latest / 1e6

    def _long(self, day: str) -> int:
        return date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal()

    def _short(self, month: int, day: int) -> int:
        leap_day = (month, day) == (2, 29)
        number = date(2000 if self._leap or leap_day else 2001, month, day).timetuple().tm_yday
        if number < self._day - 182:
            self._days_before += 366 if self._leap else 365
            self._leap = False
        self._leap |= leap_day
        self._day = number
        return self._days_before + number


def parse_log(source: str | os.PathLike[str] | Iterable[str]) -> Log:
    """Reads a log file, or lines.

    A last line without its end is cut off and may hold half a number: it counts only when it has no number in it.
    Raises FerError: unreadable, empty, or nothing of Caffe's in it.
    """
    if is_file := isinstance(source, str | os.PathLike):
        name, lines = str(source), _lines(Path(source))
    else:
        name, lines = "the log", iter(source)
    read, truncated = LogAssembler(), False
    for line in lines:
        truncated = is_file and not line.endswith("\n")
        if not truncated or isinstance(read_line(line), Done | StoppedEarly | Fatal):
            read.feed(line)
    if read.lines == 0 and not truncated:
        raise FerError(f"{name} is empty: Caffe writes its log to stderr, so use `caffe train ... 2> train.log`")
    if read.events == 0:
        raise FerError(
            f"{name} is no Caffe training log: looked for lines like\n"
            "  I1124 12:00:00.000000  1 solver.cpp:239] Iteration 100 (8 iter/s, 12s/100 iters), loss = 1.5\n"
            f"and found none in {read.lines} lines. Caffe writes them to stderr (GLOG_logtostderr=1, minloglevel 0)"
        )
    read.finish()
    return read.log(truncated=truncated)


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends as "\\n"; PowerShell's UTF-16 is known by its mark."""
    try:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with path.open(encoding=encoding, errors="replace") as text:
            yield from text
    except OSError as error:
        raise FerError(f"cannot read the log {path}: {error.strerror}") from error


def find_output(records: Sequence[LogRecord], kind: str) -> str:
    """The output that is the net's accuracy or loss: the name itself, else the last that looks like it, else "".

    Nets with auxiliary heads (loss1/top-1 ... loss3/top-1) print the main head last.
    """
    names = list(dict.fromkeys(name for record in records for name in record.outputs))
    signs = {"accuracy": ("acc", "top-1", "top1"), "loss": ("loss",)}[kind]
    if kind in names:
        return kind
    alike = [name for name in names if any(sign in name.rsplit("/", 1)[-1].lower() for sign in signs)]
    main = [name for name in alike if "top-5" not in name and "top5" not in name]
    return (main or alike or [""])[-1]
