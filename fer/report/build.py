"""Composes a report: read, compute, draw, write. The result is what metrics.json holds."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer import __version__
from fer.data.dataset import SPLIT_NAMES
from fer.errors import FerError
from fer.evaluation.metrics import Metrics, Scores, compute_metrics, mcnemar, to_json, without
from fer.formats.log import Log, parse_log
from fer.report import plots
from fer.report.curves import Curves, Exact, collapse_sentence, make_curves
from fer.report.ensemble import read_ensemble
from fer.report.evidence import (
    Evidence,
    Scored,
    find_mistakes,
    finite,
    log_notes,
    no_iteration,
    read_evidence,
    unique_names,
)
from fer.report.files import MARK, curve_csv, publish, scores_csv
from fer.report.html import page
from fer.report.plots import Figure
from fer.runs.run import Run
from fer.system.records import as_json

CENTRE_CROP, TEN_CROP = "centre crop", "ten-crop"
Progress = Callable[[str, int, int], None] | None


def build_report(
    runs: Sequence[Run], out: Path | None = None, *, val_only: bool = False, progress: Progress = None
) -> dict[str, Any]:
    """Writes the report of one scored run, or the comparison of several, and returns what metrics.json holds.

    `out` defaults to the run's own report folder, or to compare-<names> beside the first run. `val_only` leaves test
    out, scored or not.
    Raises FerError: no run, a run twice, a run that is not scored or is damaged, a folder that cannot be written.
    """
    evidences = _read_all(runs, val_only)
    if len(evidences) == 1:
        out = out or runs[0].report_dir
        result, figures = _run_result(evidences[0]), _run_figures(evidences[0])
        tables = _run_tables(evidences[0])
    else:
        out = out or _beside("compare", runs)
        names = unique_names(evidences)
        result, figures = _comparison(evidences, names), _comparison_figures(evidences, names)
        tables = {}
    return _write(out, result, figures, tables, progress)


def build_ensemble(
    runs: Sequence[Run], out: Path | None = None, *, val_only: bool = False, progress: Progress = None
) -> dict[str, Any]:
    """Writes the report of several scored runs as one net, their probabilities averaged; returns metrics.json's.

    `out` defaults to ensemble-<names> beside the first run. Raises FerError as build_report does, and for one run
    alone and for runs that did not score the same images.
    """
    evidences = _read_all(runs, val_only)
    names = unique_names(evidences)
    ensemble = read_ensemble(evidences, names)
    best = max(range(len(runs)), key=lambda i: evidences[i].metrics["val"].accuracy)
    result = {
        "kind": "ensemble",
        "name": ensemble.name,
        "data": {"title": ensemble.data},
        "members": [_run_result(each) | {"name": name} for name, each in zip(names, evidences, strict=True)],
        "splits": _splits(ensemble),
        "commonest_class_accuracy": ensemble.metrics["val"].commonest_class,
        "mcnemar": [_mcnemar("the ensemble", ensemble, names[best], evidences[best])],
        "notes": list(ensemble.notes),
    }
    tables = _scores_tables(ensemble)
    return _write(out or _beside("ensemble", runs), result, _scores_figures(ensemble), tables, progress)


def _read_all(runs: Sequence[Run], val_only: bool) -> list[Evidence]:
    if not runs:
        raise FerError("no run to report on; give a run directory, as runs/lenet-s2")
    if len({run.dir.resolve() for run in runs}) < len(runs):
        raise FerError("a run is given twice; give each run once")
    return [read_evidence(run, val_only=val_only) for run in runs]


def _beside(kind: str, runs: Sequence[Run]) -> Path:
    return runs[0].dir.parent / "-".join((kind, *(run.name for run in runs)))[:100]


def report_log(log_path: str | Path, out: str | Path, *, progress: Progress = None) -> dict[str, Any]:
    """Writes the curves, CSVs and page of any Caffe log, and returns what metrics.json holds. Raises FerError."""
    log_path, out = Path(log_path), Path(out)
    log = parse_log(log_path)
    if not log.records:
        raise FerError(no_iteration(str(log_path), log))
    curves = make_curves(log, held_out="test net")
    name = " · ".join(filter(None, (log.net_name, log_path.name)))
    notes = ([sentence] if (sentence := collapse_sentence(curves)) else []) + log_notes(log, curves)
    result = {"kind": "log", "name": name, "log": str(log_path), "training": _training(log, curves), "notes": notes}
    return _write(out, result, _curve_figures(curves, name, name), _log_tables(log), progress)


def _write(
    out: Path, result: dict[str, Any], figures: Mapping[str, Figure], tables: Mapping[str, str], progress: Progress
) -> dict[str, Any]:
    files = {name: text.encode() for name, text in tables.items()}
    images: dict[str, bytes] = {}
    for done, (name, figure) in enumerate(figures.items()):
        if progress:
            progress("figures", done, len(figures))
        for kind in ("png", "svg"):
            images[f"figures/{name}.{kind}"] = plots.render(figure, kind)
    if progress:
        progress("figures", len(figures), len(figures))
    names = sorted([*files, *images, MARK, "report.html"])
    result = {"fer_version": __version__, **result, "report": str(out), "files": names}
    files |= images
    files["report.html"] = page(result, images).encode()
    files[MARK] = (json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
    publish(out, files)
    return result


def _run_result(evidence: Evidence) -> dict[str, Any]:
    info, meta = as_json(evidence.run.record), evidence.scores["val"].meta
    facts = ["engine", "net", "solver", "seed", "gpu", "precision", "state", "command", "started", "seconds"]
    facts += [
        "max_iter",
        "iteration",
        "patience",
        "ended",
        "hardware",
        "versions",
        "repeatable",
        "git_commit",
        "prototxt_sha256",
    ]
    return {
        "kind": "run",
        "name": evidence.name,
        "run": {"dir": str(evidence.run.dir), **{key: info[key] for key in facts if info.get(key) is not None}},
        "data": {"title": evidence.data, **{k: v for k, v in info["data"].items() if k != "title"}},
        "snapshot": {key: meta.get(key) for key in ("iteration", "averaged", "weights", "weights_sha256")}
        | {"chosen_on": "val" if evidence.best_on_val else None},
        "splits": _splits(evidence),
        "commonest_class_accuracy": evidence.metrics["val"].commonest_class,
        "training": _training(evidence.log, evidence.curves, info["iteration"]),
        "notes": list(evidence.notes),
    }


def _splits(evidence: Scored) -> dict[str, Any]:
    """Of each split the metrics of the centre crop, and those of ten crops where they were scored."""

    def measured(crop: str, scores: Scores, metrics: Metrics) -> dict[str, Any]:
        """Over all images, and as "clean" over those that do not lie in Training, where that is known."""
        seen = evidence.in_training.get(scores.split)
        unseen = None if seen is None else without(scores, seen)
        clean = unseen and {
            "left_out": len(scores.files) - len(unseen.files),
            **to_json(compute_metrics(unseen, evidence.classes)),
        }
        return {"crop": crop, **to_json(metrics), "clean": clean}

    def over_ten_crops(scores: Scores) -> dict[str, Any]:
        return measured(TEN_CROP, scores, compute_metrics(scores, evidence.classes))

    return {
        split: {
            "name": SPLIT_NAMES[split],
            **measured(CENTRE_CROP, scores, evidence.metrics[split]),
            "ten_crop": over_ten_crops(evidence.ten_crop[split]) if split in evidence.ten_crop else None,
        }
        for split, scores in evidence.scores.items()
    }


def _training(log: Log, curves: Curves, iterations: int | None = None) -> dict[str, Any]:
    """What the log says; how many `iterations` were done, the record of a run knows better."""
    accuracy, loss = curves.accuracy, curves.loss
    known = accuracy.values[accuracy.values == accuracy.values]
    return {
        "iterations": curves.last if iterations is None else iterations,
        "seconds": log.seconds,
        "first_loss": finite(float(loss.values[0])) if len(loss) else None,
        "last_loss": finite(float(loss.values[-1])) if len(loss) else None,
        "best_accuracy": float(known.max()) if len(known) else None,
        "last_accuracy": finite(float(accuracy.values[-1])) if len(accuracy) else None,
        "last_tested": int(accuracy.iterations[-1]) if len(accuracy) else None,
        "held_out": curves.held_out,
        "lr_below_1_percent_at": curves.collapse,
        "not_finite_at": curves.diverged,
        "optimization_done": log.optimization_done,
        "stopped_early": log.stopped_early,
        "truncated": log.truncated,
        "fatal": log.fatal,
    }


def _curve_figures(curves: Curves, train_title: str, test_title: str, exact: Exact | None = None) -> dict[str, Figure]:
    """The figures the log allows: a log without a rate, a loss or a test has none of it."""
    has_test = len(curves.accuracy) > 0 or exact is not None
    figures: dict[str, Figure] = {}
    if len(curves.lr) and len(curves.loss) and has_test:
        figures["overview"] = plots.plot_overview(curves, test_title, exact=exact)
    if len(curves.lr):
        figures["learning_rate"] = plots.plot_learning_rate(curves, train_title)
    if len(curves.loss):
        figures["training_loss"] = plots.plot_training_loss(curves, train_title)
    if has_test or len(curves.test_loss):
        figures["validation"] = plots.plot_validation(curves, test_title, exact=exact)
    return figures


def _run_figures(evidence: Evidence) -> dict[str, Figure]:
    figures = _curve_figures(evidence.curves, evidence.title("train"), evidence.title("val"), evidence.exact)
    figures |= _scores_figures(evidence)
    if evidence.manifest:
        counts = {SPLIT_NAMES[split]: facts.class_counts for split, facts in evidence.manifest.splits.items()}
        copies = ", moved copies included" if evidence.manifest.copies else ""
        title = f"Images by class{copies} · {evidence.data}"
        figures["class_counts"] = plots.plot_class_counts(counts, evidence.classes, title)
    return figures


def _scores_figures(evidence: Scored) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for split, metrics in evidence.metrics.items():
        title = evidence.title(split)
        figures[f"confusion_{split}"] = plots.plot_confusion(metrics, title)
        figures[f"confusion_{split}_normalised"] = plots.plot_confusion(metrics, title, normalised=True)
        figures[f"roc_{split}"] = plots.plot_roc(metrics, title)
        figures[f"classes_{split}"] = plots.plot_class_bars(metrics, title)
    if mistakes := find_mistakes(evidence):
        figures["mistakes_val"] = plots.plot_mistakes(mistakes, f"Surest mistakes · {evidence.title('val')}")
    return figures


def _log_tables(log: Log) -> dict[str, str]:
    tables = {"train.csv": curve_csv(log, "train"), "test.csv": curve_csv(log, "test")}
    return tables | {f"test_{net}.csv": curve_csv(log, "test", net) for net in log.test_nets() if net != 0}


def _run_tables(evidence: Evidence) -> dict[str, str]:
    return _log_tables(evidence.log) | _scores_tables(evidence)


def _scores_tables(evidence: Scored) -> dict[str, str]:
    return {f"scores_{split}.csv": scores_csv(each, evidence.classes) for split, each in evidence.scores.items()}


def _comparison(evidences: Sequence[Evidence], names: Sequence[str]) -> dict[str, Any]:
    data = list(dict.fromkeys(evidence.data for evidence in evidences))
    pairs = itertools.combinations(zip(names, evidences, strict=True), 2)
    return {
        "kind": "comparison",
        "name": " against ".join(names),
        "data": {"title": " and ".join(data)},
        "runs": [_run_result(evidence) | {"name": name} for name, evidence in zip(names, evidences, strict=True)],
        "mcnemar": [_mcnemar(name_a, a, name_b, b) for (name_a, a), (name_b, b) in pairs],
        "notes": [f"{n}: {note}" for n, e in zip(names, evidences, strict=True) for note in e.notes],
    }


def _mcnemar(name_a: str, a: Scored, name_b: str, b: Scored) -> dict[str, Any]:
    """The test on val, or the reason why there is none."""
    pair = {"a": name_a, "b": name_b, "split": "val"}
    try:
        test = mcnemar(a.scores["val"], b.scores["val"])
    except FerError as error:
        return pair | {"not_comparable": str(error)}
    counts = {"only_a": test.only_a, "only_b": test.only_b, "both": test.both, "neither": test.neither}
    return pair | counts | {"p_value": test.p_value}


def _comparison_figures(evidences: Sequence[Evidence], names: Sequence[str]) -> dict[str, Figure]:
    runs = [(name, evidence.curves) for name, evidence in zip(names, evidences, strict=True)]
    data = " and ".join(dict.fromkeys(evidence.data for evidence in evidences))
    title = f"{len(runs)} runs · {SPLIT_NAMES['val']} · {data}"
    return {"side_by_side": plots.plot_side_by_side(runs, title), "overlay": plots.plot_overlay(runs, title)}
