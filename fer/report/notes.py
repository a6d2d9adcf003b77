"""What the reader of a report should know, one sentence each."""

import itertools
from dataclasses import replace

from fer.data.dataset import SPLIT_NAMES
from fer.errors import FerError
from fer.evaluation.metrics import Metrics
from fer.formats.log_records import SATURATED_TEXT, Log, is_saturated
from fer.formats.prototxt import read_solver
from fer.nets.policies import early_collapse
from fer.report.curves import Curves, collapse_sentence, make_curves
from fer.runs.run import Run
from fer.system.plural import counted

FEW = 3
MOST_NETS = 16
LONGEST = 150


def run_notes(run: Run, log: Log, curves: Curves, metrics: dict[str, Metrics]) -> list[str]:
    """Of a scored run: what its log, its record and its figures say beside their numbers."""
    notes = [sentence] if (sentence := collapse_sentence(curves)) else []
    notes += log_notes(replace(log, stopped_early=False), curves)  # the record says it, and why
    record = run.record
    if record.state != "finished":
        notes.append(f"The run is {record.state}: {record.iteration:,} of {counted(record.max_iter, 'iteration')}.")
    elif record.ended and record.iteration < record.max_iter:
        notes.append(f"The run ended early: {record.ended}.")
    for split, each in metrics.items():
        empty = [c.name for c in each.classes if c.support == 0]
        if empty:
            notes.append(f"{SPLIT_NAMES[split]} has no image of {', '.join(empty)}: no recall and no ROC curve.")
    early = _early(run)
    notes += [note for note in (*record.warnings, *record.notes) if note != early]
    return list(dict.fromkeys(notes))


def _early(run: Run) -> str | None:
    """The warning of an early collapse of the rate, which the curves tell in more words."""
    try:
        return early_collapse(read_solver(run.solver))
    except FerError:
        return None


def log_notes(log: Log, curves: Curves) -> list[str]:
    """What a log says of itself that its curves do not."""
    notes = _others(log, curves.held_out)
    if curves.main.note:
        notes.append(curves.main.note)
    if curves.diverged is not None:
        notes.append(f"The training loss is not finite from iteration {curves.diverged:,} on.")
    notes += _saturated(curves)
    if log.wrapped:
        notes.append(f"The log's lines are wrapped at {log.wrapped} columns, as a console does, and were joined again.")
    if log.truncated:
        notes.append("The log's last line is cut off and was left out.")
    if log.fatal:
        notes.append(f"Caffe stopped with: {shorten(log.fatal)}")
    if log.stopped_early:
        notes.append("Training was stopped early.")
    if others := further_nets(log):
        left = len(log.test_nets()) - 1 - len(others)
        more = f" The {left:,} behind them are left out." if left else ""
        notes.append(
            f"The log has further test nets ({', '.join(f'#{net}' for net in others)}): "
            f"figures show #0, test_N.csv the others.{more}"
        )
    return notes


def further_nets(log: Log) -> list[int]:
    """The test nets besides #0 that have a table."""
    return [net for net in log.test_nets() if net != 0][:MOST_NETS]


def _others(log: Log, held_out: str) -> list[str]:
    """That the log holds more than one training, which is shown, and how good the others were."""
    if not log.others:
        return []
    what = f"The log holds {len(log.others) + 1:,} trainings: all here is of the one that began, or was resumed, last"
    first = [_in_short(number, each, held_out) for number, each in enumerate(log.others[:FEW], 1)]
    more = [f"and {len(log.others) - FEW:,} more"] if len(log.others) > FEW else []
    return [f"{what}{f' ({shorten(log.net_name)})' * bool(log.net_name)}. Left out: {'; '.join(first + more)}."]


def _in_short(number: int, log: Log, held_out: str) -> str:
    curves = make_curves(log, held_out=held_out)
    best = f", best {held_out} accuracy {curves.accuracy.best[1]:.2%}" if curves.accuracy.best else ""
    return f"training {number}{f' ({shorten(log.net_name)})' * bool(log.net_name)}, to iteration {curves.last:,}{best}"


def _saturated(curves: Curves) -> list[str]:
    """That a loss has come to the value that says that nothing is learnt any more, and stays there."""
    for series, what in ((curves.loss, "training loss"), (curves.test_loss, f"{curves.held_out} loss")):
        stays = list(itertools.takewhile(is_saturated, series.values[::-1]))
        if len(stays) > 1 or (stays and len(series) == 1):
            return [
                f"The {what} stays at {SATURATED_TEXT} from iteration {series.iterations[-len(stays)]:,} on: the right "
                "class's probability is 0 for each image. Lower base_lr, or check the data's scale and the labels."
            ]
    return []


def shorten(text: str) -> str:
    """What a log says, fit for a sentence."""
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def no_iteration(name: str, log: Log) -> str:
    """Why there is nothing to report on."""
    last = f"; its last words: {shorten(log.fatal)}" if log.fatal else ""
    return f"{name} ends before the first displayed iteration{last}"
