"""What a log's assembler works with: a training, and the share that one thread has in a log."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fer.formats.log_lines import Solving
from fer.formats.log_records import Log, LogRecord


@dataclass
class Training:
    """What is known of one training: its records and what was said beside them."""

    began: float
    net_name: str = ""
    policy: str = ""
    records: list[LogRecord] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    prefixes: set[str] = field(default_factory=set)  # of its snapshots
    resumed: list[str] = field(default_factory=list)
    done: bool = False
    stopped_early: bool = False
    fatal: str | None = None
    first: int = 0
    newest: int = 0
    latest: float = 0.0
    threads: dict["Thread", None] = field(default_factory=dict)  # that may have a record of it at hand

    def goes_on(self) -> None:
        """After an end that was none."""
        self.done = self.stopped_early = False
        self.fatal = None

    def may_be_called(self, solving: Solving | None) -> bool:
        return solving is None or not solving.name or not self.net_name or solving.name == self.net_name

    def log(self, others: Iterable["Training"] = ()) -> Log:
        began = self.began
        records = [replace(each, seconds=each.seconds - began) for each in self.records] if began else self.records
        return Log(
            tuple(records),
            tuple(self.snapshots),
            tuple(self.resumed),
            self.net_name,
            self.policy,
            self.done,
            self.stopped_early,
            self.fatal,
            seconds=max(self.latest - began, 0.0),
            others=tuple(other.log() for other in others),
        )


class Thread:
    """One thread's share of a log: the record at hand, and the training that it is of.

    A train record is the displayed loss and the rate of one iteration, in either order, with the outputs between or
    behind them; a test record a test net's outputs. Either is finished by the first line that is no part of it; a
    train record already by the rate behind its loss, so that it need not wait for the next line.
    """

    def __init__(self) -> None:
        self.training: Training | None = None
        self.solving: Solving | None = None  # said since the last record
        self.began: float | None = None  # when that was
        self.policy = ""
        self.newest: LogRecord | None = None  # what the next line may be a part of
        self.is_finished = False
        self.of_solver = False  # has shown a loss or a test: no other GPU's, which say their rates alone
        self.rates: list[LogRecord] = []  # those said before that
        self.said = 0  # the line before, hashed
        self._copies: dict[str, int] = {}

    def begin(self, record: LogRecord) -> list[LogRecord]:
        finished = self.finish()
        self.newest, self.is_finished = record, False
        self._copies = {}
        return finished

    def finish(self) -> list[LogRecord]:
        """The record at hand, where it is not finished yet, with rates that had to wait for it."""
        if self.newest is None or self.is_finished:
            return []
        self.is_finished = True
        rate_alone = self.newest.phase == "train" and self.newest.loss is None and not self.newest.outputs
        if rate_alone and not self.of_solver:
            self.rates.append(self.newest)
            return []
        finished, self.rates, self.of_solver = [*self.rates, self.newest], [], True
        return finished

    def train(
        self, iteration: int, seconds: float, *, loss: float | None = None, lr: float | None = None
    ) -> list[LogRecord]:
        """A loss or a rate, which is of the newest record where that is of this iteration and has none yet."""
        record, finished = self.newest, []
        if record is None or not self._is_of(record, iteration, loss):
            record = LogRecord(iteration, "train", seconds)
        elif lr is not None and record.lr is not None:
            return []
        if record.loss is not None and loss is not None:
            record = LogRecord(iteration, "train", seconds)
        if record is not self.newest:
            finished = self.begin(record)
        self.newest = replace(record, lr=record.lr if lr is None else lr, loss=record.loss if loss is None else loss)
        return finished + (self.finish() if record.loss is not None else [])

    def _is_of(self, record: LogRecord, iteration: int, loss: float | None) -> bool:
        """NVCaffe calls a training's last iteration N where it shows its loss, and N - 1 where it says its rate."""
        last = loss is None and record.loss is not None and record.lr is None and iteration == record.iteration - 1
        return record.phase == "train" and (record.iteration == iteration or last)

    def output(self, phase: str, name: str, value: float, weight: float | None = None) -> None:
        """An output of the newest record; one of no record (the log's beginning is missing) is left out."""
        if self.newest is None or self.newest.phase != phase:
            return
        outputs = self.newest.outputs
        unique, copy = name, self._copies.get(name, 1)
        while unique in outputs:
            copy += 1
            unique = f"{name}#{copy}"
        self._copies[name] = copy
        outputs[unique] = value
        if weight is not None:
            self.newest.weights[unique] = weight
