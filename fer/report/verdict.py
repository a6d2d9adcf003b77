"""What a person should take from it, in a sentence or two: what was reached, whether it still rises, what to do next.

PublicTest (val) alone decides; PrivateTest has no say.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from fer.data.dataset import SPLIT_NAMES
from fer.errors import FerError
from fer.formats.prototxt import read_solver
from fer.nets.policies import COLLAPSE, learning_rate
from fer.report.curves import RISE, Curves, Series
from fer.report.results import ComparisonResult, McNemarResult, SplitResult
from fer.report.words import p_value, percent
from fer.runs.run import Run
from fer.runs.scores import SCORE_AGAIN, ScoresBySnapshot
from fer.system.records import read_record
from fer.system.shell import command

SIGNIFICANT = 0.05
VAL = SPLIT_NAMES["val"]


class Trend(Enum):
    """What the accuracy on val does towards the end of a training, as its sentence says it."""

    RISING = "still rising"
    LEVEL = "no longer rising"
    FALLING = "falling since"
    UNKNOWN = "of too few tests to say whether it rises"


@dataclass(frozen=True)
class Reached:
    """The accuracy that was reached; `what` gave it: "iteration 9,000", "the mean of 5 snapshots"."""

    accuracy: float
    what: str
    at: int


def trend(accuracy: Series) -> Trend:
    """Of accuracies against iterations, that of the untrained net left out: the last third against what was before.

    A gain or loss of less than RISE is none.
    """
    known = np.isfinite(accuracy.values) & (accuracy.iterations > 0)
    values = accuracy.values[known]
    if len(values) < 3:
        return Trend.UNKNOWN
    split = len(values) - max(1, len(values) // 3)
    before, after = values[:split], values[split:]
    if after.max() > before.max() + RISE:
        return Trend.RISING
    return Trend.FALLING if after.max() < before.max() - 2 * RISE else Trend.LEVEL


def best_of(accuracy: Series) -> Reached | None:
    """The best of a log's tests; None where there is none."""
    if accuracy.best is None:
        return None
    at, value = accuracy.best
    return Reached(value, f"iteration {at:,}", at)


def measured_on_val(run: Run, curves: Curves) -> Series:
    """A run's accuracies on val by iteration: the log's tests, and of all val images where those were scored."""
    points = dict(zip(curves.accuracy.iterations.tolist(), curves.accuracy.values.tolist(), strict=True))
    if run.scores_by_snapshot.is_file():
        scored = read_record(run.scores_by_snapshot, ScoresBySnapshot, SCORE_AGAIN).snapshots
        points |= {int(name): each.accuracy for name, each in scored.items() if name.isdecimal()}
    # An engine that early stopping ended may have run on before it heard of it.
    return Series.of(sorted((at, value) for at, value in points.items() if at <= run.record.iteration))


def run_verdict(
    run: Run, reached: Reached | None, accuracy: Series, curves: Curves | None = None, baseline: float | None = None
) -> str:
    """Of one run: `accuracy` are its tests or, better, its snapshots; `baseline` that of the commonest class."""
    record = run.record
    further = command("fer", "train", "--resume", run.dir)
    goes_on = record.imported is None or any(snapshot.state for snapshot in run.snapshots())
    if reached is None:
        return f"No accuracy on {VAL} was measured: {command('fer', 'report', run.dir)} scores the snapshots."
    said = f"{percent(reached.accuracy, 2)} on {VAL} with {reached.what}"
    if baseline is not None and reached.accuracy <= baseline + RISE:
        why = "the learning rate fell too early" if curves and curves.early_collapse is not None else "try another --lr"
        return f"{said}, no more than always naming the commonest class gives: nothing was learnt ({why})."
    if not goes_on:
        return f"{said}; imported without a .solverstate, it cannot be trained further."
    found = trend(accuracy)
    if record.state != "finished" and found is not Trend.FALLING:
        return f"{said} so far ({record.state} at {record.iteration:,} of {record.max_iter:,}): go on with {further}"
    match found:
        case Trend.RISING | Trend.UNKNOWN if _rate_has_run_down(run):
            return f"{said}, {found.value}, but the learning rate has run down: train anew with a longer schedule."
        case Trend.RISING | Trend.UNKNOWN:
            return f"{said}, {found.value}: go on with {further} --max-iter {2 * record.iteration}"
        case Trend.FALLING:
            return (
                f"{said}, {found.value}: more iterations do not help; more data "
                "(fer prepare --augment) or a net with Augment may (fer nets)."
            )
    if len(run.snapshots()) > 1 and not run.averages():
        return (
            f"{said}, {found.value}: the mean of the last snapshots may be better: {command('fer', 'average', run.dir)}"
        )
    return f"{said}, {found.value}: another net or solver may reach more (fer nets)."


def _rate_has_run_down(run: Run) -> bool:
    """Whether its schedule has come to its end, so that going on by it would change nothing."""
    try:
        solver = read_solver(run.solver)
        return learning_rate(solver, max(run.record.iteration - 1, 0)) < COLLAPSE * solver.base_lr
    except FerError:
        return False


def log_verdict(curves: Curves) -> str:
    """Of a log alone."""
    reached = best_of(curves.accuracy)
    if reached is None:
        return "The log shows no accuracy."
    return f"{percent(reached.accuracy, 2)} on the {curves.held_out} at {reached.what}, {trend(curves.accuracy).value}."


def comparison_verdict(result: ComparisonResult) -> str:
    """Which run is best, and whether that is more than chance: by McNemar's test against each other one.

    As many tests are made, each has its share of the 5% (Bonferroni).
    """
    runs = result.runs
    accuracies = [run.splits["val"].accuracy for run in runs]  # by place, as two runs may be called alike
    best, *others = sorted(range(len(runs)), key=lambda number: -accuracies[number])
    of_two = dict(zip(itertools.combinations(range(len(runs)), 2), result.mcnemar, strict=True))
    pairs = {number: of_two[min(best, number), max(best, number)] for number in others}
    tested = [number for number in others if pairs[number].p_value is not None]
    if not tested:
        return f"No run is called best, as they cannot be compared: {pairs[others[0]].not_comparable}."
    second = tested[0]
    alike = [number for number in tested if (pairs[number].p_value or 0.0) >= SIGNIFICANT / len(tested)]
    said = (
        f"Best on {VAL}: {runs[best].name} with {percent(accuracies[best], 2)}, "
        f"{_points(accuracies[best] - accuracies[second])} above {runs[second].name}"
    )
    share = f", where each of {len(tested)} comparisons has its share of 5%" if len(tested) > 1 else ""
    if not alike:
        return f"{said}: more than chance ({_p(pairs[second])}{share})."
    names = _listed([runs[number].name for number in alike])
    return f"{said}: no more than chance may give for {names} ({_p(pairs[alike[0]])}{share})."


def ensemble_verdict(splits: Mapping[str, SplitResult], best: str, alone: float, pair: McNemarResult) -> str:
    """Whether the nets together are better than the best of them alone."""
    together = splits["val"].accuracy
    figures = f"{percent(together, 2)} against {percent(alone, 2)} on {VAL}, {_p(pair)}"
    sure = pair.p_value is not None and pair.p_value < SIGNIFICANT
    if together < alone:
        chance = "" if sure else ", which chance may give"
        return f"The ensemble is worse than {best} alone ({figures}{chance}): take {best}."
    if together == alone:
        return f"The ensemble is no better than {best} alone ({figures}): take {best}."
    if sure:
        return f"The ensemble is better than {best}, the best of its members, by more than chance ({figures})."
    return f"The ensemble is better than {best}, but by no more than chance may give ({figures})."


def _p(pair: McNemarResult) -> str:
    if pair.p_value is None:
        return f"not comparable: {pair.not_comparable}"
    return f"p {'' if pair.p_value < 1e-4 else '= '}{p_value(pair.p_value)}"


def _points(share: float) -> str:
    return f"{100 * share:.2f} points"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
