"""Ending a training early, by the accuracy that its own tests on val show in the log."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fer.errors import FerError
from fer.formats.log_outputs import find_accuracy
from fer.formats.log_records import LogRecord
from fer.nets.accuracy import accuracy_outputs
from fer.nets.states import filter_net, test_states
from fer.runs.record import TrainedOn
from fer.schema import caffe_pb2
from fer.system.plural import counted

_MOST_SNAPSHOTS = 10  # from one test to the next


@dataclass
class EarlyStopping:
    """The best test so far; it is over once `limit` tests have come since without beating it.

    `output` is the accuracy's name in the log. Every test has a snapshot, so that the best one's can be kept: the
    engine takes one each `interval`, of which those not due by the solver's own are dropped again.
    """

    limit: int
    output: str
    own_interval: int
    test_interval: int
    accuracies: dict[int, float] = field(default_factory=dict)

    def take(self, iteration: int, outputs: Mapping[str, float]) -> None:
        """A test's outputs; one met again (after a resume) counts once."""
        if self.output in outputs:
            value = outputs[self.output]
            self.accuracies[iteration] = value if math.isfinite(value) else -math.inf

    @property
    def best(self) -> int | None:
        """The iteration of the best test, of equal ones the earliest."""
        return max(self.accuracies, key=lambda i: (self.accuracies[i], -i), default=None)

    @property
    def since(self) -> int:
        """How many tests have come after the best one."""
        return sum(self.best is not None and i > self.best for i in self.accuracies)

    @property
    def over(self) -> bool:
        return self.since >= self.limit

    @property
    def interval(self) -> int:
        return math.gcd(self.own_interval, self.test_interval)

    def spare(self, snapshots: Iterable[int]) -> list[int]:
        """Of a run's snapshots (iterations, rising) those taken for a test that is neither the best nor the newest."""
        *older, _ = [*snapshots, 0]
        extra = [i for i in older if i % self.interval == 0 and not (self.own_interval and i % self.own_interval == 0)]
        return [i for i in extra if i not in (self.best, older[-1])]

    def __str__(self) -> str:
        return f"val {self.output} has not risen for {counted(self.since, 'test')}, since iteration {self.best:,}"


def find_early_stopping(
    limit: int,
    solver: caffe_pb2.SolverParameter,
    net: caffe_pb2.NetParameter,
    data: TrainedOn,
    records: Iterable[LogRecord] = (),
) -> EarlyStopping:
    """Early stopping by the first test net of a run; `data` is its entry in run.json, `records` the tests already made.

    Raises FerError where the training makes no test, the net shows no accuracy, or the test is on PrivateTest, which
    must decide nothing.
    """
    states = test_states(solver)
    if not states or not solver.test_interval:
        raise FerError("--patience needs tests on val: test_iter and test_interval in the solver")
    layers = filter_net(net, states[0]).layer
    known = accuracy_outputs(net, solver)
    if not known:
        raise FerError("--patience needs an Accuracy layer in the net's TEST phase")
    for layer in layers:
        for source in (layer.data_param.source, layer.image_data_param.source):
            if source and _is_test(Path(source), data):
                raise FerError(
                    f"--patience: layer {layer.name!r} tests on {source}, the images of PrivateTest\n"
                    "they must not decide when a training ends: take val_lmdb"
                )
    output = find_accuracy([LogRecord(0, "test", 0.0, outputs=dict.fromkeys(known, 0.0))], known).name
    found = EarlyStopping(limit, output, solver.snapshot, solver.test_interval)
    if found.interval * _MOST_SNAPSHOTS < solver.test_interval:
        raise FerError(
            f"--patience takes a snapshot at each test and each of the solver's own, which with test_interval "
            f"{solver.test_interval:,} and snapshot {solver.snapshot:,} is one in {found.interval:,} iterations\n"
            "make snapshot a multiple of test_interval"
        )
    for record in records:
        found.take(record.iteration, record.outputs)
    return found


def _is_test(source: Path, data: TrainedOn) -> bool:
    """Whether a source is the data directory's test split, or a database of the same bytes."""
    folder, hashes = Path(data.dir), data.files
    database = hashes.get(str(folder / "test_lmdb" / "data.mdb"))
    same = database is not None and hashes.get(str(source / "data.mdb")) == database
    return same or source.resolve() in {(folder / name).resolve() for name in ("test_lmdb", "test.txt")}
