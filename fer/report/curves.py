"""A log as the series that figures and tables show: learning rate, losses, accuracy, each against iterations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fer.formats.log_outputs import NO_OUTPUT, MainOutput, find_accuracy, find_loss
from fer.formats.log_records import Log, LogRecord
from fer.nets.policies import COLLAPSE

FILL = 500  # points of the schedule
RISE = 0.005  # an accuracy that gains less than this has not risen


@dataclass(frozen=True)
class Series:
    """Values float64 [K] at iterations int64 [K], rising. What is not finite is NaN."""

    iterations: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.iterations)

    @property
    def best(self) -> tuple[int, float] | None:
        """Iteration and value of the largest, of equal ones the earliest; None where there is none.

        Iteration 0, where nothing was trained yet, counts where there is nothing else.
        """
        known = np.isfinite(self.values)
        known &= (self.iterations > 0) | ~(known & (self.iterations > 0)).any()
        if not known.any():
            return None
        at = self.values[known].argmax()
        return int(self.iterations[known][at]), float(self.values[known][at])

    @classmethod
    def of(cls, points: Sequence[tuple[int, float]]) -> "Series":
        values = np.array([value for _, value in points], dtype=np.float64)
        values[~np.isfinite(values)] = np.nan
        return cls(np.array([iteration for iteration, _ in points], dtype=np.int64), values)


@dataclass(frozen=True)
class Curves:
    """What one training run looked like.

    lr          as logged, filled in from the solver's schedule where the two agree
    loss        the displayed one
    accuracy    of the first test net, by its own layer (a mean of batch means), fractions; empty where it has none
    test_loss   likewise
    collapse    the first iteration whose rate lies below 1% of the first, None where there is none
    diverged    the first iteration whose displayed loss is not finite
    last        the last iteration that is known to be done, or that the log speaks of
    held_out    what figures call the data of the test net
    main        the output that is the accuracy, and what to know of it
    """

    lr: Series
    loss: Series
    accuracy: Series
    test_loss: Series
    collapse: int | None
    diverged: int | None
    last: int
    held_out: str = "val"
    main: MainOutput = NO_OUTPUT

    @property
    def early_collapse(self) -> int | None:
        """The collapse where it lies in the first half: a later one is how a schedule ends."""
        return self.collapse if self.collapse is not None and self.collapse <= self.last / 2 else None


@dataclass(frozen=True)
class Chosen:
    """The snapshot that was chosen: its accuracy on the centre crop, and over ten crops where it was scored so."""

    name: str
    iteration: int
    accuracy: float
    ten_crop: float | None = None


@dataclass(frozen=True)
class SnapshotAccuracies:
    """Val accuracies over all images, each once, as scored after training.

    snapshots  of each snapshot
    averages   of each mean of snapshots, at the last one's iteration
    chosen     the one of these whose scores are reported
    majority_baseline  of always answering the commonest class
    """

    snapshots: Series
    averages: Series
    chosen: Chosen
    majority_baseline: float


def recall_series(recalls: Mapping[str, Sequence[float | None]], classes: int) -> tuple[Series, ...]:
    """Of each class its recall against iterations, of snapshots by name ("200"; means of them are left out).

    None where fewer than two have recalls of so many classes.
    """
    known = sorted((int(name), each) for name, each in recalls.items() if name.isdecimal() and len(each) == classes)
    if len(known) < 2:
        return ()
    numbers = [(iteration, [math.nan if x is None else x for x in each]) for iteration, each in known]
    return tuple(Series.of([(i, each[index]) for i, each in numbers]) for index in range(classes))


def make_curves(
    log: Log,
    schedule: Callable[[int], float] | None = None,
    held_out: str = "val",
    end: int = 0,
    accuracies: Mapping[str, int] = MappingProxyType({}),
) -> Curves:
    """Curves of a log. `schedule` (iteration -> rate) finds the collapse to the iteration, else the logged rates do.

    `end` is the iteration that the training is known to have reached, which no line need speak of; `accuracies` are
    the outputs of the net's Accuracy layers with their top_k, where the net is known.
    """
    train, test = log.curve("train"), log.curve("test")
    logged = Series.of([(r.iteration, r.lr) for r in train if r.lr is not None])
    loss_name = find_loss(train)
    losses = [(r.iteration, value) for r in train if (value := _loss(r, loss_name, displayed=True)) is not None]
    last = max((end, *(r.iteration for r in (*train, *test))))
    lr = _filled(logged, last, schedule)
    main, test_loss_name = find_accuracy(test, accuracies), find_loss(test)
    return Curves(
        lr=lr,
        loss=Series.of(losses),
        accuracy=Series.of([(r.iteration, r.outputs[main.name]) for r in test if main.name in r.outputs]),
        test_loss=Series.of([(r.iteration, v) for r in test if (v := _loss(r, test_loss_name)) is not None]),
        collapse=_collapse(logged, last, schedule),
        diverged=next((iteration for iteration, value in losses if not math.isfinite(value)), None),
        last=last,
        held_out=held_out,
        main=main,
    )


def _loss(record: LogRecord, name: str, *, displayed: bool = False) -> float | None:
    output = record.outputs.get(name)
    first, second = (record.loss, output) if displayed else (output, record.loss)
    return second if first is None else first


def _filled(logged: Series, last: int, schedule: Callable[[int], float] | None) -> Series:
    """The rate between and behind the logged iterations too: a log shows every hundredth, and none at the very end."""
    if schedule is None or not len(logged):
        return logged
    expected = np.array([schedule(int(i)) for i in logged.iterations])
    if not np.allclose(expected, logged.values, rtol=1e-4, atol=0):
        return logged
    first = int(logged.iterations[0])
    more = np.unique(np.r_[logged.iterations, np.linspace(first, last, FILL, dtype=np.int64)])
    return Series.of([(int(i), schedule(min(int(i), max(last - 1, first)))) for i in more])


def _collapse(lr: Series, last: int, schedule: Callable[[int], float] | None) -> int | None:
    if schedule is None:
        iterations, rates = lr.iterations, lr.values
    else:
        iterations = np.arange(last)
        rates = np.array([schedule(int(i)) for i in iterations], dtype=np.float64)
    if len(rates) == 0:
        return None
    low = np.flatnonzero(rates < COLLAPSE * rates[0])
    return int(iterations[low[0]]) if len(low) else None


def smooth(series: Series) -> tuple[Series, int]:
    """The running mean over a centred window of a fortieth of the points (at least five), and the window's length.

    NaN is left out of the means. Short series (under ten points) come back as they are, window 1.
    """
    count = len(series)
    if count < 10:
        return series, 1
    half = max(2, count // 80)
    known = np.isfinite(series.values)
    totals = np.r_[0.0, np.cumsum(np.where(known, series.values, 0.0))]
    counts = np.r_[0, np.cumsum(known)]
    low, high = np.maximum(np.arange(count) - half, 0), np.minimum(np.arange(count) + half + 1, count)
    seen = counts[high] - counts[low]
    means = (totals[high] - totals[low]) / np.maximum(seen, 1)
    return Series(series.iterations, np.where(seen > 0, means, np.nan)), 2 * half + 1


def collapse_sentence(curves: Curves) -> str | None:
    """What an early collapse of the rate did, in one sentence; None where the rate held through the first half."""
    if (collapse := curves.early_collapse) is None:
        return None
    fell = f"The learning rate fell below 1% of its start after {collapse:,} of {curves.last:,} iterations"
    before = curves.accuracy.values[curves.accuracy.iterations <= collapse]
    after = curves.accuracy.values[curves.accuracy.iterations > collapse]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if len(after) == 0:
        return fell + "."
    # where the first test lies behind the collapse, it is the nearest there is to the accuracy at the collapse
    start, rest = (before.max(), after) if len(before) > 1 else (after[0], after[1:])
    rise = rest.max() - start if len(rest) else 0.0
    if rise < RISE:
        return f"{fell}; {curves.held_out} accuracy did not rise after that."
    return f"{fell}; {curves.held_out} accuracy rose by {100 * rise:.1f} points after that."
