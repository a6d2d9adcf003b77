"""Scored runs for TensorBoard: curves, hyper-parameters, final figures; confusion matrix and mistakes as pictures."""

from collections.abc import Sequence
from pathlib import Path

from fer.errors import FerError
from fer.evaluation.event_file import RunEvents
from fer.report.figures import scores_figures
from fer.report.plots.look import render
from fer.report.scored_run import read_scored_run
from fer.runs.run import Run

SHOWN = ("confusion", "mistakes", "confusions", "calibration")


def write_tensorboard(runs: Sequence[Run], directory: Path, *, val_only: bool = False) -> None:
    """Write the event file of each scored run in `directory`, in place of the one that it has there.

    Raises FerError where a run cannot be reported, or the file not be written.
    """
    for run in runs:
        scored = read_scored_run(run, val_only=val_only)
        metrics: dict[str, float] = {}
        for split, each in scored.metrics.items():
            named = {"accuracy": each.accuracy, "balanced accuracy": each.balanced_accuracy, "log loss": each.log_loss}
            metrics |= {f"scored {split}/{name}": value for name, value in named.items()}
        step = scored.scores["val"].meta.iteration
        try:
            with RunEvents(directory, run) as events:
                events.begin(run, scored.log.curves(), metrics)
                for iteration, accuracy in zip(*vars(scored.accuracies.snapshots).values(), strict=True):
                    events.scalar("scored val/accuracy of snapshots", float(accuracy), int(iteration))
                for name, figure in scores_figures(scored).items():
                    if name.split("_")[0] in SHOWN:
                        events.image(name.replace("_", " "), render(figure, "png"), step)
        except OSError as error:
            raise FerError(f"--tensorboard {directory}: cannot be written: {error.strerror}") from error
