"""A training's log read on as it grows, and its curves as they grow with it."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer.formats.log_assembler import LogAssembler
from fer.formats.log_records import Log, LogRecord
from fer.formats.log_text import LONGEST_LINE, clean
from fer.report.curves import Curves, Series, make_curves
from fer.system.escapes import escaped

TAIL = 40
"""Lines of a log's end that are shown."""
END = 4096
"""Bytes of a log's end."""
NAMES = ("loss", "accuracy", "test_loss", "lr")
"""The curves, by their names in `Curves`."""
WINDOW = 20
"""Displayed iterations that the pace is taken from."""


class LogFollower:
    """Reads a log on from where it was left: `read` gives the records that the new lines finish.

    `tail` are its last lines. A file that is another or shorter than before is read anew, and `readings` counted up.
    """

    def __init__(self, path: Path):
        self.path = path
        self.readings = 0
        self._begin()

    def _begin(self) -> None:
        self._assembler = LogAssembler()
        self._inode = self._offset = 0
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.lines = 0

    def read(self, most: int) -> tuple[list[LogRecord], bool]:
        """The records of `most` more bytes at most, and whether there are more to read. An OSError is its caller's."""
        if not self.path.is_file():
            return [], False
        with self.path.open("rb") as file:
            facts = self.path.stat()
            if facts.st_size < self._offset or (self._inode and facts.st_ino != self._inode):
                self._begin()
                self.readings += 1
            self._inode = facts.st_ino
            file.seek(self._offset)
            new = file.read(most)
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        self._rest = self._rest[:LONGEST_LINE]
        found: list[LogRecord] = []
        for line in lines:
            text = line[:LONGEST_LINE].decode("utf-8", "replace")
            found += [each for each in self._assembler.feed(text) if isinstance(each, LogRecord)]
            self.tail.append(escaped(clean(text)))
        self.lines += len(lines)
        return found, len(new) == most

    def finish(self) -> list[LogRecord]:
        """The record that the log's end left unfinished: the training is over."""
        return self._assembler.finish()


def last_loss(path: Path) -> float | None:
    """The loss that a log displays last, read from its end alone; None where that shows none."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - END, 0))
        text = file.read(END).decode("utf-8", "replace")
    assembler, shown = LogAssembler(), None
    for line in text.splitlines()[1:]:  # the first one may be half of one
        for each in assembler.feed(line):
            if isinstance(each, LogRecord) and each.loss is not None and each.phase == "train":
                shown = each.loss
    return shown if shown is not None and math.isfinite(shown) else None


class LiveCurves:
    """Curves as lists of iterations and values (None where one is not finite), by NAMES.

    `rewinds` counts how often points were taken back, as a resumed training goes back to its snapshot.
    """

    def __init__(self, accuracies: Mapping[str, int]):
        self._accuracies = accuracies
        self.points: dict[str, tuple[list[int], list[float | None]]] = {name: ([], []) for name in NAMES}
        self.rewinds = 0
        self._paces: deque[tuple[int, float]] = deque(maxlen=WINDOW)

    def add(self, records: Sequence[LogRecord]) -> None:
        """Append what further records say; those of a time before take the place of what is there from then on."""
        if not records:
            return
        self._drop_from(min(record.iteration for record in records))
        curves: Curves = make_curves(Log(records=tuple(records)), accuracies=self._accuracies)
        for name, (iterations, values) in self.points.items():
            series: Series = getattr(curves, name)
            for iteration, value in zip(series.iterations.tolist(), series.values.tolist(), strict=True):
                if iterations and iterations[-1] == iteration:
                    values[-1] = value if math.isfinite(value) else None
                    self.rewinds += 1
                else:
                    iterations.append(iteration)
                    values.append(value if math.isfinite(value) else None)
        for record in records:
            if record.phase == "train":
                if self._paces and self._paces[-1][0] >= record.iteration:
                    self._paces.clear()
                self._paces.append((record.iteration, record.seconds))

    def _drop_from(self, first: int) -> None:
        """Take back what lies behind an iteration."""
        for iterations, values in self.points.values():
            while iterations and iterations[-1] > first:
                iterations.pop()
                values.pop()
                self.rewinds += 1

    @property
    def last(self) -> int:
        """The last iteration that the log shows."""
        return max((iterations[-1] for iterations, _ in self.points.values() if iterations), default=0)

    @property
    def loss(self) -> float | None:
        """The loss displayed last; None where there is none yet, or it was not finite."""
        values = self.points["loss"][1]
        return values[-1] if values else None

    @property
    def accuracy(self) -> Series:
        """That of the log's tests."""
        iterations, values = self.points["accuracy"]
        return Series.of(
            [(at, math.nan if value is None else value) for at, value in zip(iterations, values, strict=True)]
        )

    def seconds_left(self, reached: int, end: int) -> float | None:
        """At the pace of the iterations displayed last, tests and all; None before there are two."""
        if len(self._paces) < 2:
            return None
        (first, began), (last, now) = self._paces[0], self._paces[-1]
        return max(end - reached, 0) * (now - began) / (last - first)
