"""The tables of a report, each written once."""

from collections.abc import Iterator, Mapping, Sequence

from fer.errors import FerError
from fer.inference.model_record import FormRecord
from fer.report.results import AnyResult, ComparisonResult, EnsembleResult, Measured, RunResult, SplitResult
from fer.report.table import Column, Table
from fer.report.words import clean_sentence, duration, interval, percent, percent_2, snapshot_name

COUNT = "{:,}".format
DECIMALS = "{:.3f}".format
INTERVAL = Column("95% interval", interval, beside=True)
ACCURACY = 6  # columns of accuracy_table that a terminal has room for
PART = "– "  # begins a row that belongs to the one above it
IN_COLUMNS = 12  # classes
RECALLS = 4  # likewise of class_table


def accuracy_table(splits: Mapping[str, SplitResult]) -> Table:
    """A row for each way that each split was measured."""
    columns = (
        Column("", left=True),
        Column("accuracy", percent_2),
        INTERVAL,
        Column("misclassified", percent_2),
        INTERVAL,
        Column("images", COUNT),
        Column("log loss", DECIMALS),
        Column("mean recall", DECIMALS),
        Column("AUC macro", DECIMALS),
        Column("AUC micro", DECIMALS),
    )
    rows = tuple(
        (
            name,
            each.accuracy,
            each.accuracy_interval_95,
            each.misclassification,
            each.misclassification_interval_95,
            each.count,
            each.log_loss,
            each.balanced_accuracy,
            each.auc_macro,
            each.auc_micro,
        )
        for split in splits.values()
        for name, each in _measures(split.name, split)
    )
    return Table(columns, rows, note=clean_sentence(splits))


def calibration_table(splits: Mapping[str, SplitResult]) -> Table:
    """A row for each split: how far confidence and accuracy are apart, as trained and at the temperature of val."""
    columns = (
        Column("", left=True),
        Column("calibration error", percent_2),
        Column("scaled", percent_2),
        Column("log loss", DECIMALS),
        Column("scaled", DECIMALS),
    )
    known = [(split.name, split.calibration) for split in splits.values() if split.calibration]
    rows = tuple((name, c.error, c.scaled_error, c.log_loss, c.scaled_log_loss) for name, c in known)
    scaled = "Scaled: the logits divided by the temperature {:.3f}, which was fitted on val and changes no answer."
    return Table(columns, rows, note=scaled.format(known[0][1].temperature) if known else "")


def class_table(split: SplitResult) -> Table:
    """A row for each class, and one for all."""
    columns = (
        Column(split.name, left=True),
        Column("correct", COUNT),
        Column("total", COUNT),
        Column("recall", percent),
        Column("precision", DECIMALS),
        Column("F1", DECIMALS),
        Column("AUC", DECIMALS),
    )
    rows = tuple((c.name, c.correct, c.support, c.recall, c.precision, c.f1, c.auc) for c in split.classes)
    return Table(columns, rows, ("all", split.correct, split.count, split.accuracy))


def runs_table(runs: Sequence[RunResult]) -> Table:
    """Several runs, a row for each way that each was measured."""
    splits = runs[0].splits
    accuracies = [column for split in splits.values() for column in (Column(split.name, percent_2), INTERVAL)]
    columns = (
        Column("run", left=True),
        *accuracies,
        Column("iterations", COUNT),
        Column("chosen on val"),
        Column("time", duration),
    )
    named = [(run.name, row) for run in runs for row in _run_rows(run)]
    winners = best_on_val(runs)
    best = frozenset(n for n, (name, row) in enumerate(named) if name in winners and not str(row[0]).startswith(PART))
    return Table(columns, tuple(row for _, row in named), note=clean_sentence(splits), best=best)


def best_on_val(runs: Sequence[RunResult]) -> set[str]:
    """The names of those of several runs with the highest accuracy on val; none where their images are not the same."""
    if len(runs) < 2 or len({(run.data.title, run.splits["val"].count) for run in runs}) > 1:
        return set()
    highest = max(run.splits["val"].accuracy for run in runs)
    return {run.name for run in runs if run.splits["val"].accuracy == highest}


def _run_rows(run: RunResult) -> Iterator[tuple[object, ...]]:
    measures = [dict(_measures(run.name, split)) for split in run.splits.values()]
    for name in dict.fromkeys(name for each in measures for name in each):
        found = [each.get(name) for each in measures]
        values = [
            value for one in found for value in ((one.accuracy, one.accuracy_interval_95) if one else (None, None))
        ]
        yield name, *values, run.training.iterations, snapshot_name(run.snapshot), run.run.get("seconds")


def _measures(name: str, split: SplitResult) -> Iterator[tuple[str, Measured]]:
    """The ways a split was measured, each with what a table calls it: the first one by name."""
    for each in filter(None, (split, split.ten_crop)):
        yield (f"{name}, {each.crop}" if each is split else f"{PART}{each.crop}"), each
        if each.clean and each.clean.left_out:
            yield f"{PART}{each.crop}, clean", each.clean


def recall_table(runs: Sequence[RunResult], split: str) -> Table:
    """Several runs' recall of each class; a class a row where they are too many for columns."""
    first = runs[0].splits[split]
    if len(first.classes) > IN_COLUMNS:
        titles = (Column(first.name, left=True), *(Column(run.name, percent) for run in runs))
        recalls = zip(*([c.recall for c in run.splits[split].classes] for run in runs), strict=True)
        return Table(titles, tuple((c.name, *row) for c, row in zip(first.classes, recalls, strict=True)))
    columns = (Column(first.name, left=True), *(Column(c.name, percent) for c in first.classes))
    return Table(columns, tuple((run.name, *(c.recall for c in run.splits[split].classes)) for run in runs))


def forms_table(own: Mapping[str, float], forms: Mapping[str, FormRecord]) -> Table:
    """A row for each form of an exported net, below the net itself with its `own` accuracy by split."""
    columns = (
        Column("form", left=True),
        Column("file", left=True),
        Column("bytes", COUNT),
        *(Column(split, percent_2) for split in own),
        Column("agreement", percent_2),
        Column("difference", "{:.2g}".format),
        Column("ms a face", "{:.3g}".format),
        Column("by", left=True),
    )
    rows: list[tuple[object, ...]] = [("the run itself", "", None, *own.values(), None, None, None, "")]
    for name, form in forms.items():
        found = {"val": form.accuracy, "test": form.test}
        by = ", ".join(f"{package} {version}" for package, version in form.versions.items())
        accuracies = [found[split] for split in own]
        rows.append((name, form.file, form.bytes, *accuracies, form.agreement, form.difference, form.milliseconds, by))
    return Table(columns, tuple(rows))


def runs_of(result: AnyResult) -> Table:
    """What a paper shows of a result: the table of its runs, or of an ensemble.

    Raises FerError for a log, which has no such figures.
    """
    match result:
        case RunResult():
            return runs_table([result])
        case ComparisonResult():
            return runs_table(result.runs)
        case EnsembleResult():
            return accuracy_table(result.splits)
    raise FerError(f"{result.name}: a log alone has no table of runs")
