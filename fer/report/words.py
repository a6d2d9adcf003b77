"""How a report writes numbers, and sentences that the terminal and the page share."""

from collections.abc import Mapping
from typing import Any

from fer.report.results import Interval, McNemarResult, RunResult, SnapshotResult, SplitResult, TrainingResult
from fer.report.table import UNKNOWN
from fer.runs.record import average_text
from fer.system.plural import counted


def percent(value: float | None, digits: int = 1) -> str:
    return UNKNOWN if value is None else f"{100 * value:.{digits}f}%"


def percent_2(value: float | None) -> str:
    return percent(value, 2)


def interval(pair: Interval) -> str:
    return f"{100 * pair[0]:.1f}–{100 * pair[1]:.1f}%"


def number(value: float | None, digits: int = 4) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """ "2 h 05 min", "41 s"."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def p_value(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def snapshot_text(result: RunResult) -> str:
    snapshot = result.snapshot
    how = f"chosen on {result.splits['val'].name}" if snapshot.chosen_on == "val" else "chosen by hand"
    what = "" if snapshot.averaged else "snapshot "
    return f"{what}{snapshot_name(snapshot)} of {counted(result.training.iterations, 'iteration')}, {how}"


def snapshot_name(snapshot: SnapshotResult) -> str:
    """ "9,000", or "mean of 5 snapshots, 6,000 to 10,000"."""
    return average_text(snapshot.averaged) if snapshot.averaged else f"{snapshot.iteration:,}"


def clean_sentence(splits: Mapping[str, SplitResult]) -> str:
    """What "clean" means, with the number of images left out; nothing where no row is of them."""
    left_out = [
        f"{split.clean.left_out:,} of {split.name}" for split in splits.values() if split.clean and split.clean.left_out
    ]
    return f"clean: without the images that also lie in Training ({', '.join(left_out)})" if left_out else ""


def mcnemar_sentence(pair: McNemarResult) -> str:
    if pair.p_value is None or pair.only_a is None:
        return f"{pair.a} against {pair.b}: not comparable: {pair.not_comparable}"
    return (
        f"{pair.a} against {pair.b}: {counted(pair.only_a or 0, 'image')} only {pair.a} has right, "
        f"{pair.only_b:,} only {pair.b}: p {'' if pair.p_value < 1e-4 else '= '}{p_value(pair.p_value)}"
    )


def training_facts(training: TrainingResult) -> list[tuple[str, str]]:
    """A log's facts, as pairs of a name and a text."""
    last, tested = percent(training.last_accuracy, 2), training.last_tested
    end = "done" if training.optimization_done else "stopped early" if training.stopped_early else "not finished"
    return [
        ("iterations", f"{training.iterations:,} ({end})"),
        ("time in the log", duration(training.seconds)),
        ("training loss", f"{number(training.first_loss)} at first, {number(training.last_loss)} at last"),
        (f"best {training.held_out} accuracy logged", percent(training.best_accuracy, 2)),
        (f"last {training.held_out} accuracy logged", last if tested is None else f"{last} at {tested:,}"),
    ]


def flat(value: Any) -> str:
    """A fact of run.json as one text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple):
        return "; ".join(map(flat, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {flat(each)}" for key, each in value.items() if each is not None)
    return str(value)
