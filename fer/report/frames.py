"""DataFrames of runs and logs, for notebooks and for the report's CSVs.

run = open_run("runs/lenet-s2")
run.record.seed, run.curves, run.scores("val"), run.metrics.splits["val"].accuracy
parse_log("caffe.log")                                  # as run.curves, of any Caffe log
"""

import bisect
import csv
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fer.data.classes import class_names
from fer.errors import FerError
from fer.evaluation.scores import Scores, load_scores
from fer.formats import log as caffe_log
from fer.formats.log_records import Log
from fer.nets.accuracy import read_accuracy_outputs
from fer.report.curves import Curves, Series, make_curves
from fer.report.files import MARK
from fer.report.results import RunResult
from fer.report.table import csv_of
from fer.runs.record import RunRecord
from fer.runs.run import Run
from fer.runs.unchanged import check_run
from fer.system.escapes import csv_text
from fer.system.records import read_record
from fer.system.shell import command


class OpenedRun:
    """A run directory to look at. Raises FerError, as all its parts do, if a file is missing or damaged."""

    def __init__(self, directory: str | Path):
        self._run = Run(directory)

    @property
    def record(self) -> RunRecord:
        """What run.json says."""
        return self._run.record

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row for each iteration that the log shows: iteration, lr, loss, val accuracy, val loss; NaN if not shown.

        Accuracy and loss on val are those of the tests during the training, means over batches.
        """
        check_run(self._run)
        return curves_frame(self._curves)

    @property
    def _curves(self) -> Curves:
        log, accuracies = caffe_log.parse_log(self._run.log), read_accuracy_outputs(self._run.net, self._run.solver)
        return make_curves(log, end=self.record.iteration, accuracies=accuracies)

    def scores(self, split: str, *, ten_crop: bool = False) -> pd.DataFrame:
        """A row for each image of "val" or "test": file, label, prediction, and the probability of each class."""
        scores = load_scores(self._run.scores(split, ten_crop))
        return scores_frame(scores, class_names(self.record.data.classes, scores.probs.shape[1]))

    @cached_property
    def metrics(self) -> RunResult:
        """What the metrics.json of the run's report says."""
        path = self._run.report_dir / MARK
        cure = f"{command('fer', 'report', self._run.dir)} writes it"
        if not path.is_file():
            raise FerError(f"{path} is missing: {cure}")
        return read_record(path, RunResult, cure)

    def __repr__(self) -> str:
        return f"<run {self._run.name}: {self.record.state}, {self.record.iteration:,} iterations>"


def open_run(directory: str | Path) -> OpenedRun:
    """A run directory to look at in a notebook. Raises FerError if it is not one."""
    return OpenedRun(directory)


def parse_log(path: str | Path) -> pd.DataFrame:
    """The curves of any Caffe log, in the columns of `OpenedRun.curves`. Raises FerError if it is no log."""
    return curves_frame(make_curves(caffe_log.parse_log(Path(path))))


def curves_frame(curves: Curves) -> pd.DataFrame:
    """The columns iteration, lr, loss, val accuracy, val loss."""
    held_out = curves.held_out
    columns = {
        "lr": curves.lr,
        "loss": curves.loss,
        f"{held_out} accuracy": curves.accuracy,
        f"{held_out} loss": curves.test_loss,
    }
    frame = pd.concat([_column(name, series) for name, series in columns.items()], axis=1).sort_index()
    return frame.rename_axis("iteration").reset_index()


def _column(name: str, series: Series) -> pd.Series:
    column = pd.Series(series.values, pd.Index(series.iterations, dtype=np.int64), name=name, dtype=np.float64)
    return column[~column.index.duplicated(keep="last")]  # of an iteration shown again after a resume the last


def scores_frame(scores: Scores, classes: Sequence[str]) -> pd.DataFrame:
    """The columns file, label and prediction (numbers of classes), and each class's name."""
    frame = pd.DataFrame({"file": scores.files, "label": scores.labels, "prediction": scores.predictions})
    return frame.join(pd.DataFrame(scores.probs, columns=list(classes)))


def scores_csv(scores: Scores, classes: Sequence[str]) -> str:
    """`scores_frame` with every digit of the probabilities."""
    return csv_of(scores_frame(scores, classes))


def curve_csv(log: Log, phase: str, net: int = 0) -> str:
    """The columns of Caffe's parse_log.py: NumIters,Seconds,LearningRate,<outputs>.

    As there, a row is an iteration with outputs; a log of 2014 has none in training, so its displayed loss is the
    column. The learning rate of a test is that in force at its iteration. Unknown cells are empty.
    """
    records = log.curve(phase, net)
    rows = [(record, record.outputs) for record in records if record.outputs]
    if not rows:
        rows = [(record, {"loss": record.loss}) for record in records if record.loss is not None]
    rates = {r.iteration: r.lr for r in log.curve("train") if r.lr is not None}
    shown = [*rates]
    names = list(dict.fromkeys(name for _, outputs in rows for name in outputs))
    text = io.StringIO()
    # Not pandas: a nan of the log is no empty cell, and a net may have more outputs than it can make columns of.
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["NumIters", "Seconds", "LearningRate", *map(csv_text, names)])
    for record, outputs in rows:
        at = bisect.bisect_right(shown, record.iteration)
        rate = record.lr if record.lr is not None or not at else rates[shown[at - 1]]
        table.writerow(
            [record.iteration, f"{record.seconds:.6f}", "" if rate is None else rate]
            + ["" if (value := outputs.get(name)) is None else value for name in names]
        )
    return text.getvalue()
