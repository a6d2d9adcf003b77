"""A result in words: the terminal's summary, and the formats that it and the page share."""

from collections.abc import Sequence
from typing import Any

MCNEMAR = "McNemar's exact test on PublicTest (val):"


def percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def interval(pair: Sequence[float]) -> str:
    return f"{100 * pair[0]:.1f}–{100 * pair[1]:.1f}%"


def duration(seconds: float | None) -> str:
    """ "2 h 05 min", "41 s"."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def p_value(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def snapshot_text(result: dict[str, Any]) -> str:
    snapshot = result["snapshot"]
    if snapshot["iteration"] is None:
        return "snapshot unknown"
    how = "chosen on PublicTest (val)" if snapshot["chosen_on"] == "val" else "chosen by hand"
    what = "" if snapshot["averaged"] else "snapshot "
    return f"{what}{snapshot_name(snapshot)} of {result['training']['iterations']:,} iterations, {how}"


def snapshot_name(snapshot: dict[str, Any]) -> str:
    """ "9,000", or "mean of 5 snapshots, 6,000 to 10,000"."""
    if averaged := snapshot["averaged"]:
        return f"mean of {len(averaged)} snapshots, {averaged[0]:,} to {averaged[-1]:,}"
    return "–" if snapshot["iteration"] is None else f"{snapshot['iteration']:,}"


def summary_text(result: dict[str, Any]) -> str:
    """What the terminal shows of a result of build_report or report_log."""
    body = {"run": _run, "comparison": _comparison, "ensemble": _ensemble, "log": _log}[result["kind"]](result)
    notes = [f"Note: {note}" for note in result["notes"]]
    return "\n".join([*body, *([""] if notes else []), *notes, "", f"Report: {result['report']}/report.html"])


def _run(result: dict[str, Any]) -> list[str]:
    return [f"{result['name']} · {result['data']['title']} · {snapshot_text(result)}", "", *_splits(result)]


def _splits(result: dict[str, Any]) -> list[str]:
    lines = _table(
        ("", "accuracy", "95% interval", "misclassified", "95% interval", "images"),
        [
            (
                name,
                percent(each["accuracy"], 2),
                interval(each["accuracy_interval_95"]),
                percent(each["misclassification"], 2),
                interval(each["misclassification_interval_95"]),
                f"{each['count']:,}",
            )
            for split in result["splits"].values()
            for name, each in measures(split["name"], split)
        ],
    )
    lines += filter(None, (clean_sentence(result["splits"]),))
    lines.append(f"always the commonest class: {percent(result['commonest_class_accuracy'], 2)} on val")
    for split in result["splits"].values():
        lines += ["", *_class_table(split)]
    return lines


def measures(name: str, split: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The ways a split was measured, each with what a table calls it: the first one by name."""
    rows = []
    for each in (split, split["ten_crop"]):
        if each:
            rows.append((f"{name}, {each['crop']}" if each is split else f"– {each['crop']}", each))
            if each["clean"] and each["clean"]["left_out"]:
                rows.append((f"– {each['crop']}, clean", each["clean"]))
    return rows


def clean_sentence(splits: dict[str, Any]) -> str:
    """What "clean" means, with the number of images left out; nothing where no row is of them."""
    left_out = [
        f"{split['clean']['left_out']:,} of {split['name']}"
        for split in splits.values()
        if split["clean"] and split["clean"]["left_out"]
    ]
    return f"clean: without the images that also lie in Training ({', '.join(left_out)})" if left_out else ""


def _class_table(split: dict[str, Any]) -> list[str]:
    rows = [(c["name"], f"{c['correct']:,}", f"{c['support']:,}", percent(c["recall"])) for c in split["classes"]]
    rows.append(("all", f"{split['correct']:,}", f"{split['count']:,}", percent(split["accuracy"])))
    return _table((split["name"], "correct", "total", "%"), rows)


def _comparison(result: dict[str, Any]) -> list[str]:
    lines = [f"{len(result['runs'])} runs · {result['data']['title']}", "", *_runs_table(result["runs"])]
    return [*lines, "", MCNEMAR, *map(mcnemar_sentence, result["mcnemar"])]


def _ensemble(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['name']} · {result['data']['title']}", "", *_splits(result), "", *_runs_table(result["members"])]
    return [*lines, "", MCNEMAR, *map(mcnemar_sentence, result["mcnemar"])]


def _runs_table(runs: Sequence[dict[str, Any]]) -> list[str]:
    columns = [text for split in runs[0]["splits"] for text in (split, "95% interval")]
    table = _table(
        ("", *columns, "iterations", "chosen", "time"),
        [
            (
                *row,
                f"{run['training']['iterations']:,}",
                snapshot_name(run["snapshot"]),
                duration(run["run"].get("seconds")),
            )
            for run in runs
            for row in accuracy_rows(run)
        ],
    )
    return [*table, *filter(None, (clean_sentence(runs[0]["splits"]),))]


def accuracy_rows(run: dict[str, Any]) -> list[tuple[str, ...]]:
    """A comparison's rows of a run, one a way of measuring: its name, accuracy and interval on each split."""
    splits = [dict(measures(run["name"], split)) for split in run["splits"].values()]
    names = dict.fromkeys(name for split in splits for name in split)
    return [(name, *(text for split in splits for text in _accuracy(split.get(name)))) for name in names]


def _accuracy(each: dict[str, Any] | None) -> tuple[str, str]:
    return (percent(each["accuracy"], 2), interval(each["accuracy_interval_95"])) if each else ("–", "–")


def mcnemar_sentence(pair: dict[str, Any]) -> str:
    if "not_comparable" in pair:
        return f"  {pair['a']} against {pair['b']}: not comparable: {pair['not_comparable']}"
    return (
        f"  {pair['a']} against {pair['b']}: {pair['only_a']:,} images only {pair['a']} has right, "
        f"{pair['only_b']:,} only {pair['b']}: p {'' if pair['p_value'] < 1e-4 else '= '}{p_value(pair['p_value'])}"
    )


def training_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """A log's facts, as pairs of a name and a text."""
    best, last, tested = training["best_accuracy"], percent(training["last_accuracy"], 2), training["last_tested"]
    end = "done" if training["optimization_done"] else "stopped early" if training["stopped_early"] else "not finished"
    return [
        ("iterations", f"{training['iterations']:,} ({end})"),
        ("time in the log", duration(training["seconds"])),
        ("training loss", f"{_number(training['first_loss'])} at first, {_number(training['last_loss'])} at last"),
        (f"best {training['held_out']} accuracy logged", percent(best, 2)),
        (f"last {training['held_out']} accuracy logged", last if tested is None else f"{last} at {tested:,}"),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _log(result: dict[str, Any]) -> list[str]:
    rows = training_rows(result["training"])
    width = max(len(name) for name, _ in rows)
    return [result["name"], "", *(f"{name:<{width}}  {text}" for name, text in rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
