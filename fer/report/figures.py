"""Which figures a report has, by their names."""

from collections.abc import Collection, Sequence

from fer.data.dataset import SPLIT_NAMES
from fer.evaluation.calibration import calibration, fit_temperature
from fer.report.curves import Curves, SnapshotAccuracies
from fer.report.explanations import batch_labels, batch_pictures, filter_pictures, find_explained, seen_faces
from fer.report.mistakes import find_confusions, find_mistakes
from fer.report.plots.calibration import plot_calibration, plot_recalls
from fer.report.plots.faces import plot_confusions, plot_maps, plot_tiles
from fer.report.plots.look import Figure
from fer.report.plots.scores import plot_class_bars, plot_class_counts, plot_confusion, plot_mistakes, plot_roc
from fer.report.plots.training import (
    plot_learning_rate,
    plot_overlay,
    plot_overview,
    plot_side_by_side,
    plot_training_loss,
    plot_validation,
)
from fer.report.scored_run import Scored, ScoredRun
from fer.runs.explained import Explained


def curve_figures(
    curves: Curves, train_title: str, test_title: str, accuracies: SnapshotAccuracies | None = None
) -> dict[str, Figure]:
    """The figures the log allows: a log without a rate, a loss or a test has none of it."""
    has_test = len(curves.accuracy) > 0 or accuracies is not None
    figures: dict[str, Figure] = {}
    if len(curves.lr) and len(curves.loss) and has_test:
        figures["overview"] = plot_overview(curves, test_title, accuracies=accuracies)
    if len(curves.lr):
        figures["learning_rate"] = plot_learning_rate(curves, train_title)
    if len(curves.loss):
        figures["training_loss"] = plot_training_loss(curves, train_title)
    if has_test or len(curves.test_loss):
        figures["validation"] = plot_validation(curves, test_title, accuracies=accuracies)
    return figures


def run_figures(run: ScoredRun) -> dict[str, Figure]:
    figures = curve_figures(run.curves, run.title("train"), run.title("val"), run.accuracies)
    if run.recalls:
        named = list(zip(run.classes, run.recalls, strict=True))
        figures["recalls"] = plot_recalls(named, f"Recall of each class · {run.title('val')}")
    figures |= scores_figures(run)
    if explained := find_explained(run):
        figures |= explained_figures(run, explained)
    if run.manifest:
        counts = {SPLIT_NAMES[split]: facts.class_counts for split, facts in run.manifest.splits.items()}
        copies = ", moved copies included" if run.manifest.copies else ""
        title = f"Images by class{copies} · {run.data}"
        figures["class_counts"] = plot_class_counts(counts, run.classes, title)
    return figures


def scores_figures(scored: Scored) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    temperature = fit_temperature(scored.scores["val"])
    for split, metrics in scored.metrics.items():
        title = scored.title(split)
        figures[f"confusion_{split}"] = plot_confusion(metrics, title)
        figures[f"confusion_{split}_normalised"] = plot_confusion(metrics, title, normalised=True)
        figures[f"roc_{split}"] = plot_roc(metrics, title)
        figures[f"classes_{split}"] = plot_class_bars(metrics, title)
        before, after = calibration(scored.scores[split]), calibration(scored.scores[split], temperature)
        figures[f"calibration_{split}"] = plot_calibration(before, after, temperature, title)
    if mistakes := find_mistakes(scored):
        figures["mistakes_val"] = plot_mistakes(mistakes, f"Surest mistakes · {scored.title('val')}")
    if confusions := find_confusions(scored):
        figures["confusions_val"] = plot_confusions(confusions, f"Commonest confusions · {scored.title('val')}")
    return figures


def explained_figures(run: ScoredRun, explained: Explained) -> dict[str, Figure]:
    """What the net looks at, its first filters, a batch of its training."""
    figures: dict[str, Figure] = {}
    if faces := seen_faces(explained, run.classes):
        figures["maps_val"] = plot_maps(faces, f"What the net looks at · {run.title('val')}")
    if filters := filter_pictures(explained):
        figures["filters"] = plot_tiles(filters, [], f"Filters of the first convolution · {run.name}", 16)
    if batch := batch_pictures(explained):
        labels = batch_labels(explained, run.classes)
        figures["batch"] = plot_tiles(batch, labels, f"A batch of the training as the net sees it · {run.name}", 12)
    return figures


def comparison_figures(runs: Sequence[ScoredRun], names: Sequence[str], best: Collection[str]) -> dict[str, Figure]:
    """`best` are the names of those that are best on val, which get a star."""
    curves = [(f"★ {name}" if name in best else name, run.curves) for name, run in zip(names, runs, strict=True)]
    data = " and ".join(dict.fromkeys(run.data for run in runs))
    title = f"{len(runs)} runs · {SPLIT_NAMES['val']} · {data}"
    return {"side_by_side": plot_side_by_side(curves, title), "overlay": plot_overlay(curves, title)}
