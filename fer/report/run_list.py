"""The runs of a folder side by side: how far each is and the best accuracy on val that is known of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.formats.log import parse_log
from fer.nets.accuracy import read_accuracy_outputs
from fer.report.curves import Series, make_curves
from fer.report.table import Column, Table
from fer.runs.record import UNKNOWN
from fer.runs.run import RUN_JSON, ExportedModel, Run
from fer.runs.scores import SCORE_AGAIN, ScoresBySnapshot
from fer.system.locks import is_locked
from fer.system.records import read_record


@dataclass(frozen=True)
class ListedRun:
    """A run as a list shows it.

    state          run.json's; "broken off" where it says that a process trains it, and none does
    val_accuracy   the best one known, of all val images once it is scored ("scored"), else of the log's tests ("log")
    at             its iteration, or the name of a mean of snapshots
    """

    name: str
    dir: str
    state: str
    iteration: int
    max_iter: int
    val_accuracy: float | None
    at: str | None
    measured: str | None
    engine: str
    data: str
    started: str
    seconds: float | None


def list_runs(parent: Path) -> tuple[list[ListedRun], list[str]]:
    """The runs in a folder, the newest first; and what is wrong with those that cannot be read.

    Raises FerError where there is no such folder.
    """
    if not parent.is_dir():
        raise FerError(f"{parent}: no such folder of runs; fer train lenet makes the first one in runs/")
    found, faults = [], []
    for path in sorted(parent.glob(f"*/{RUN_JSON}")):
        try:
            found.append(listed(Run(path.parent)))
        except ExportedModel:
            continue
        except FerError as error:
            faults.append(str(error))
    return sorted(found, key=lambda run: "" if run.started == UNKNOWN else run.started, reverse=True), faults


def listed(run: Run, logged: Series | None = None) -> ListedRun:
    """A run as a list shows it; `logged` is the accuracy of its log's tests, where that is read already.

    Raises FerError for a log or scores that are damaged.
    """
    record = run.record
    accuracy, at, measured = _best(run, logged)
    return ListedRun(
        name=run.dir.name,
        dir=str(run.dir),
        state="broken off" if record.state == "training" and not is_locked(run.dir) else record.state,
        iteration=record.iteration,
        max_iter=record.max_iter,
        val_accuracy=accuracy,
        at=at,
        measured=measured,
        engine=record.engine,
        data=record.data.title or Path(record.data.dir).name,
        started=record.started,
        seconds=record.seconds,
    )


def _best(run: Run, logged: Series | None) -> tuple[float | None, str | None, str | None]:
    """The best accuracy on val, of which iteration or mean it is, and how it was measured."""
    if run.scores_by_snapshot.is_file():
        scored = read_record(run.scores_by_snapshot, ScoresBySnapshot, SCORE_AGAIN).snapshots
        finite = {name: each.accuracy for name, each in scored.items() if math.isfinite(each.accuracy)}
        if finite:
            name = max(finite, key=lambda name: finite[name])
            return finite[name], name, "scored"
    if logged is None:
        if not run.log.is_file() or not run.log.stat().st_size:
            return None, None, None
        logged = make_curves(parse_log(run.log), accuracies=read_accuracy_outputs(run.net, run.solver)).accuracy
    at, value = logged.best or (0, math.nan)
    # What the net that nothing was trained of gives is nobody's accuracy.
    return (value, str(at), "log") if at > 0 else (None, None, None)


def run_list_table(runs: Sequence[ListedRun]) -> Table:
    """A row for each run."""
    columns = (
        Column("run", left=True),
        Column("state", left=True),
        Column("iterations"),
        Column("val accuracy", _accuracy),
        Column("engine", left=True),
        Column("data", left=True),
        Column("started", _minute, left=True),
    )
    rows = tuple(
        (
            run.name,
            run.state,
            f"{run.iteration:,}" + (f" of {run.max_iter:,}" if run.iteration < run.max_iter else ""),
            None if run.val_accuracy is None else (run.val_accuracy, run.measured),
            run.engine,
            run.data,
            run.started,
        )
        for run in runs
    )
    logged = any(run.measured == "log" for run in runs)
    return Table(columns, rows, note="~ by the log's tests; fer report RUN scores each image once" if logged else "")


def _accuracy(best: tuple[float, str]) -> str:
    return f"{'~' * (best[1] == 'log')}{100 * best[0]:.2f}%"


def _minute(started: str) -> str:
    return started[:16].replace("T", " ")
