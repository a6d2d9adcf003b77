"""The runs of a folder as they are now: looked at no more often than asked for, and read on, never anew."""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from fer.board.follow import LiveCurves, LogFollower, last_loss
from fer.engines.caffe.ipc import read_odometer
from fer.errors import FerError
from fer.nets.accuracy import read_accuracy_outputs
from fer.report.run_list import ListedRun, listed
from fer.runs.run import RUN_JSON, Run

FRESH = 0.9
"""Seconds that a look at the folder holds good."""
BUDGET = 0.25
"""Seconds that one look reads logs for; the rest is read at the next ones."""
CHUNK = 1 << 15
"""Bytes of a log that are read at a time."""
_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Row:
    """What the table of runs says of one.

    seconds_left  None where nothing trains it, or its pace is not known yet
    fault         why nothing else is known of it
    reading       whether more of its log is still to be read
    """

    listed: ListedRun | None
    net: str = ""
    solver: str = ""
    loss: float | None = None
    seconds_left: float | None = None
    fault: str = ""
    reading: bool = False

    @property
    def started(self) -> str:
        return self.listed.started if self.listed else ""


class WatchedRun:
    """One run directory. `row`, `curves` and `log` are as of the last `look`, `version` counts what has changed."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.run: Run | None = None
        self.row = Row(None)
        self.version = 0
        self._stamps: tuple[_Stamp, ...] = ()
        self._forget_log(Path())

    def _forget_log(self, log: Path) -> None:
        self.log = LogFollower(log)
        accuracies = read_accuracy_outputs(self.run.net, self.run.solver) if self.run else {}
        self.curves = LiveCurves(accuracies)
        self.unread = True

    @property
    def is_training(self) -> bool:
        return self.row.listed is not None and self.row.listed.state == "training"

    @property
    def wants_reading(self) -> bool:
        """Whether the table of runs needs more of the log: of a scored run whose training is over its end is enough."""
        known = self.row.listed
        return self.unread and (known is None or known.measured != "scored" or known.state == "training")

    @property
    def urgency(self) -> tuple[bool, str]:
        return self.is_training, self.row.started

    def look(self) -> None:
        """Take in what is new of everything but the log."""
        names = (RUN_JSON, "scores/val_by_snapshot.json", "scores/val.npz", "report/metrics.json")
        stamps = tuple(_stamp(self.directory / name) for name in names)
        if stamps != self._stamps:
            try:
                self.run, fault = _opened(self.directory), ""
            except FerError as error:
                self.run, fault = None, str(error)
            if self.run is not None and self.log.path != self.run.log:
                self._forget_log(self.run.log)
            self._stamps, self.unread = stamps, True  # a training that is over has written since somebody looked
            self.version += 1
            self._show(fault)
        elif self.run is not None and self.run.record.state == "training":
            before = self.is_training
            self._show()
            self.unread = self.unread or before != self.is_training  # killed, which changes no file

    def read(self) -> None:
        """Take in a piece of what is new of the log."""
        if self.run is None:
            self.unread = False
            return
        before = self.log.readings, self.log.lines
        try:
            records, self.unread = self.log.read(CHUNK)
        except OSError as error:
            self.unread = False
            self._show(f"{self.run.log}: {error.strerror}")
            return
        if self.log.readings != before[0]:
            rewinds, accuracies = self.curves.rewinds, read_accuracy_outputs(self.run.net, self.run.solver)
            self.curves = LiveCurves(accuracies)
            self.curves.rewinds = rewinds + 1
        if not self.unread and self.run.record.state != "training":
            records = records + self.log.finish()
        self.curves.add(records)
        if (self.log.readings, self.log.lines) != before or self.row.reading != self.unread:
            self._show()

    def _show(self, fault: str = "") -> None:
        row = Row(None, fault=fault) if self.run is None or fault else self._row(self.run)
        if row != self.row:
            self.version += 1
        self.row = row

    def _row(self, run: Run) -> Row:
        try:
            known = listed(run, self.curves.accuracy)
            loss = last_loss(run.log) if not self.log.lines and run.log.is_file() else self.curves.loss
        except (FerError, OSError) as error:
            return Row(None, fault=str(error))
        reached, left = known.iteration, None
        if known.state in ("training", "broken off"):
            reached = min(max(reached, self.curves.last, read_odometer(run.odometer) or 0), run.record.max_iter)
        if known.state == "training":
            left = self.curves.seconds_left(reached, run.record.max_iter)
        known = replace(known, iteration=reached)
        return Row(known, run.record.net, run.record.solver, loss, left, reading=self.unread)


class Watch:
    """The runs of a folder by their directories' names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.runs: dict[str, WatchedRun] = {}
        self._looked = -FRESH
        self.lock = threading.Lock()
        """Held while anything of the runs changes."""

    def refresh(self, first: Collection[str] = ()) -> None:
        """Look at the folder again, unless somebody has just done so; in a thread, as it reads files.

        The logs of the runs named `first` are read before others.
        """
        with self.lock:
            if time.monotonic() - self._looked < FRESH:
                self._read(first, only_unread=True)
                return
            there = {path.parent.name: path.parent for path in self.folder.glob(f"*/{RUN_JSON}")}
            self.runs = {name: self.runs.get(name) or WatchedRun(path) for name, path in sorted(there.items())}
            for run in self.runs.values():
                run.look()
            self._read(first)
            self._looked = time.monotonic()

    def _read(self, first: Collection[str], *, only_unread: bool = False) -> None:
        """What the logs have to say: those asked for, those that grow, then the newest."""
        end = time.monotonic() + BUDGET
        order = sorted(self.runs.items(), key=lambda each: (each[0] in first, *each[1].urgency), reverse=True)
        for name, run in order:
            while run.wants_reading or (name in first and run.unread) or (run.is_training and not only_unread):
                run.read()
                if not run.unread or time.monotonic() > end:
                    break
            if time.monotonic() > end:
                break

    def is_behind(self, first: Collection[str] = ()) -> bool:
        """Whether there are logs left that are to be read to their end."""
        return any(run.wants_reading or (name in first and run.unread) for name, run in self.runs.items())


def _opened(directory: Path) -> Run:
    """A run whose files are its own: whoever made it may have meant others to be shown. Raises FerError."""
    run, own = Run(directory), directory.resolve()
    for path in (run.solver, run.net, run.deploy, run.log, run.report_dir):
        if path.is_symlink() and not path.resolve().is_relative_to(own):
            raise FerError(f"{path} is a link that leads out of the run directory: put what it leads to there")
    return run


def _stamp(path: Path) -> _Stamp:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
