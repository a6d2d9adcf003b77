"""Composes a report: read, compute, draw, write.

result = build_report([Run("runs/alexnet-s3")])       # several runs: the comparison
result = build_ensemble([Run("runs/a"), Run("runs/b")])
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fer.errors import FerError
from fer.formats.log import parse_log
from fer.formats.log_records import Log
from fer.report.curves import collapse_sentence, make_curves
from fer.report.ensemble import read_ensemble
from fer.report.explanations import NO_INSIGHT, Insight, find_insight
from fer.report.figures import comparison_figures, curve_figures, run_figures, scores_figures
from fer.report.files import MARK, publish, report_folder
from fer.report.frames import curve_csv, scores_csv
from fer.report.kept import files_hash_of, fingerprint
from fer.report.measure import mcnemar_result, run_result, split_results, training_result
from fer.report.mistakes import doubts_csv
from fer.report.notes import further_nets, log_notes, no_iteration
from fer.report.page import page
from fer.report.plots.look import Figure, render
from fer.report.results import ComparisonResult, DataResult, EnsembleResult, LogResult, Result, RunResult
from fer.report.scored_run import Scored, ScoredRun, read_scored_run, unique_names
from fer.report.tables import best_on_val
from fer.report.verdict import comparison_verdict, ensemble_verdict, log_verdict
from fer.runs.opened import check_different
from fer.runs.run import Run
from fer.system.escapes import some_names
from fer.system.progress import StageProgress
from fer.system.records import seal_record

R = TypeVar("R", bound=Result)


def build_report(
    runs: Sequence[Run], out: Path | None = None, *, val_only: bool = False, progress: StageProgress | None = None
) -> RunResult | ComparisonResult:
    """Write the report of one scored run, or the comparison of several, and return what its metrics.json holds.

    `out` defaults to the run's own report folder, or to compare-<names> beside the first run; with -val behind it where
    a report of test too is there. `val_only` leaves test out, scored or not.
    Raises FerError: no run, a run twice, a run that is not scored or is damaged, a folder that cannot be written.
    """
    made_from = fingerprint(runs, val_only=val_only)
    scored = _read_all(runs, val_only)
    out = out or report_folder(runs, "compare", val_only=val_only)
    if len(scored) > 1:
        names = unique_names(scored)
        result = replace(_comparison(scored, names), made_from=made_from)
        return _write(out, result, comparison_figures(scored, names, best_on_val(result.runs)), {}, progress)
    (one,) = scored
    tables = _log_tables(one.log) | _scores_tables(one)
    made = replace(run_result(one), made_from=made_from)
    return _write(out, made, run_figures(one), tables, progress, find_insight(one))


def build_ensemble(
    runs: Sequence[Run], out: Path | None = None, *, val_only: bool = False, progress: StageProgress | None = None
) -> EnsembleResult:
    """Write the report of several scored runs as one net, their probabilities averaged; returns metrics.json's.

    `out` defaults to ensemble-<names> beside the first run. Raises FerError as build_report does, and for one run
    alone and for runs that did not score the same images.
    """
    made_from = fingerprint(runs, ensemble=True, val_only=val_only)
    scored = _read_all(runs, val_only)
    names = unique_names(scored)
    ensemble = read_ensemble(scored, names)
    best = max(range(len(runs)), key=lambda i: scored[i].metrics["val"].accuracy)
    splits = split_results(ensemble)
    pair = mcnemar_result("the ensemble", ensemble, names[best], scored[best])
    result = EnsembleResult(
        verdict=ensemble_verdict(splits, names[best], scored[best].metrics["val"].accuracy, pair),
        name=ensemble.name,
        data=DataResult(title=ensemble.data),
        members=tuple(map(run_result, scored, names)),
        splits=splits,
        commonest_class_accuracy=ensemble.metrics["val"].majority_baseline,
        mcnemar=(pair,),
        warnings=ensemble.warnings,
        notes=ensemble.notes,
        made_from=made_from,
    )
    out = out or report_folder(runs, "ensemble", val_only=val_only)
    return _write(out, result, scores_figures(ensemble), _scores_tables(ensemble), progress)


def report_log(log_path: str | Path, out: str | Path, *, progress: StageProgress | None = None) -> LogResult:
    """Write the curves, CSVs and page of any Caffe log, and return what metrics.json holds.

    Raises FerError if it is no log of a training, shows no iteration, or the folder cannot be written.
    """
    log_path, out = Path(log_path), Path(out)
    log = parse_log(log_path)
    if not log.records:
        raise FerError(no_iteration(str(log_path), log))
    curves = make_curves(log, held_out="test net")
    name = " · ".join(filter(None, (log.net_name, log_path.name)))
    sentence = collapse_sentence(curves)
    result = LogResult(
        name=name,
        verdict=log_verdict(curves),
        log=str(log_path),
        training=training_result(log, curves),
        notes=(*([sentence] if sentence else []), *log_notes(log, curves)),
    )
    return _write(out, result, curve_figures(curves, name, name), _log_tables(log), progress)


def _read_all(runs: Sequence[Run], val_only: bool) -> list[ScoredRun]:
    if not runs:
        raise FerError("no run to report on; give a run directory, as runs/lenet-s2")
    check_different(runs)
    scored = [read_scored_run(run, val_only=val_only) for run in runs]
    for each in scored[1:]:
        if each.classes != scored[0].classes:
            of = [f"{one.name} of {some_names(one.classes)}" for one in (scored[0], each)]
            raise FerError(f"not of the same classes, so that no table can hold both: {of[0]}\n{of[1]}")
    return scored


def _comparison(scored: Sequence[ScoredRun], names: Sequence[str]) -> ComparisonResult:
    named = list(zip(names, scored, strict=True))
    result = ComparisonResult(
        name=" against ".join(names),
        data=DataResult(title=" and ".join(dict.fromkeys(each.data for each in scored))),
        runs=tuple(run_result(each, name) for name, each in named),
        mcnemar=tuple(mcnemar_result(*a, *b) for a, b in itertools.combinations(named, 2)),
        warnings=tuple(f"{name}: {warning}" for name, each in named for warning in each.warnings),
        notes=tuple(f"{name}: {note}" for name, each in named for note in each.notes),
    )
    return replace(result, verdict=comparison_verdict(result))


def _write(
    out: Path,
    result: R,
    figures: Mapping[str, Figure],
    tables: Mapping[str, str],
    progress: StageProgress | None,
    insight: Insight = NO_INSIGHT,
) -> R:
    files = {name: text.encode() for name, text in tables.items()}
    images: dict[str, bytes] = {}
    for done, (name, figure) in enumerate(figures.items()):
        if progress:
            progress("figures", done, len(figures))
        for kind in ("png", "svg"):
            images[f"figures/{name}.{kind}"] = render(figure, kind)
    if progress:
        progress("figures", len(figures), len(figures))
    names = tuple(sorted([*files, *images, MARK, "report.html"]))
    result = replace(result, report=str(out), files=names)
    files |= images
    files["report.html"] = page(result, figures, images, insight).encode()
    result = replace(result, files_sha256=files_hash_of(files))
    files[MARK] = seal_record(result)
    publish(out, files)
    return result


def _log_tables(log: Log) -> dict[str, str]:
    tables = {"train.csv": curve_csv(log, "train"), "test.csv": curve_csv(log, "test")}
    return tables | {f"test_{net}.csv": curve_csv(log, "test", net) for net in further_nets(log)}


def _scores_tables(scored: Scored) -> dict[str, str]:
    tables = {f"scores_{split}.csv": scores_csv(each, scored.classes) for split, each in scored.scores.items()}
    return tables | {"labels_in_doubt_val.csv": doubts_csv(scored, "val")}
