"""What a log says, as records."""

from dataclasses import dataclass, field

SATURATED_TEXT = "87.3365 (-log of the smallest float: outputs are nan, infinite or saturated)"


def is_saturated(loss: float) -> bool:
    """Whether a loss is what Caffe shows once the probability of the right class is 0 for each image."""
    return abs(loss - 87.3365) < 1e-3


@dataclass(frozen=True)
class LogRecord:
    """What the log says of one iteration of one net.

    phase    "train" or "test"
    seconds  since the log's first line, or since its training began
    lr       train only: the rate of this iteration's step
    loss     train: the displayed loss; test: the "Test loss" line (`test_compute_loss`)
    outputs  by name, in order; a name met again becomes name#2, name#3 ... Without names (2014): score#0, score#1 ...
    weights  of the outputs that are losses: their loss weights
    net      the test net's number
    """

    iteration: int
    phase: str
    seconds: float
    lr: float | None = None
    loss: float | None = None
    outputs: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    net: int = 0


@dataclass(frozen=True)
class Log:
    """A training's log. `records` keeps the file's order and repeats; `curve` is what a figure should show.

    others   the trainings that the file holds besides, which began before this one
    wrapped  the columns that the file's lines were wrapped at, 0 where they were not
    """

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
    others: tuple["Log", ...] = ()
    wrapped: int = 0

    def curve(self, phase: str, net: int = 0) -> list[LogRecord]:
        """The records of one net by rising iteration. Where a resumed run went back, what it left behind is dropped."""
        curve: dict[tuple[int, str, int], LogRecord] = {}  # by rising iteration
        for record in self.records:
            while curve and next(reversed(curve))[0] > record.iteration:
                curve.popitem()
            curve[record.iteration, record.phase, record.net] = record
        return [record for record in curve.values() if (record.phase, record.net) == (phase, net)]

    def curves(self) -> list[LogRecord]:
        """Those of all nets."""
        return [*self.curve("train"), *(record for net in self.test_nets() for record in self.curve("test", net))]

    def test_nets(self) -> list[int]:
        """The numbers of the test nets."""
        return sorted({record.net for record in self.records if record.phase == "test"})
