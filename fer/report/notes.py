"""What the reader of a report should know, one sentence each."""

from dataclasses import replace

from fer.data.dataset import SPLIT_NAMES
from fer.errors import FerError
from fer.evaluation.metrics import Metrics
from fer.formats.log import Log
from fer.formats.prototxt import read_solver
from fer.nets.policies import early_collapse
from fer.report.curves import Curves, collapse_sentence
from fer.runs.run import Run


def run_notes(run: Run, log: Log, curves: Curves, metrics: dict[str, Metrics]) -> list[str]:
    """Of a scored run: what its log, its record and its figures say beside their numbers."""
    notes = [sentence] if (sentence := collapse_sentence(curves)) else []
    notes += log_notes(replace(log, stopped_early=False), curves)  # the record says it, and why
    record = run.record
    if record.state != "finished":
        notes.append(f"The run is {record.state}: {record.iteration:,} of {record.max_iter:,} iterations.")
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
    notes = []
    if curves.diverged is not None:
        notes.append(f"The training loss is not finite from iteration {curves.diverged:,} on.")
    if log.truncated:
        notes.append("The log's last line is cut off and was left out.")
    if log.fatal:
        notes.append(f"Caffe stopped with: {log.fatal}")
    if log.stopped_early:
        notes.append("Training was stopped early.")
    if others := [str(net) for net in log.test_nets() if net != 0]:
        notes.append(f"The log has further test nets (#{', #'.join(others)}): figures show #0, test_N.csv the others.")
    return notes


def no_iteration(name: str, log: Log) -> str:
    last = f"; its last words: {log.fatal}" if log.fatal else ""
    return f"{name} ends before the first displayed iteration{last}"
