"""The results of scored runs and of logs: what was read and computed, as metrics.json has it."""

import math
from dataclasses import asdict, replace
from typing import Any

from fer.errors import FerError
from fer.evaluation.calibration import calibration, fit_temperature
from fer.evaluation.label_issues import label_issues
from fer.evaluation.metrics import ClassMetrics, Metrics, compute_metrics, mcnemar
from fer.evaluation.scores import Scores, without
from fer.formats.log_records import Log
from fer.report.curves import Curves
from fer.report.results import (
    CalibrationResult,
    ClassResult,
    CleanResult,
    CropResult,
    DataResult,
    McNemarResult,
    Measured,
    RunResult,
    SnapshotResult,
    SplitResult,
    TrainingResult,
)
from fer.report.scored_run import Scored, ScoredRun
from fer.report.verdict import Reached, measured_on_val, run_verdict
from fer.runs.record import average_text
from fer.system.records import as_json

CENTRE_CROP, TEN_CROP = "centre crop", "ten-crop"
# The facts of run.json that tell how a run was trained.
FACTS = (
    "engine", "net", "solver", "seed", "gpu", "precision", "state", "command", "started", "seconds", "max_iter",
    "iteration", "patience", "ema", "ended", "hardware", "versions", "repeatable", "git_commit", "prototxt_sha256",
    "given", "adapted", "imported",
)  # fmt: skip


def run_result(scored: ScoredRun, name: str | None = None) -> RunResult:
    """The result of one run, called `name` among others."""
    record, meta = as_json(scored.run.record), scored.scores["val"].meta
    notes = scored.manifest.notes if scored.manifest else ()
    images = {each.list: each.sha256 for each in scored.run.record.data.images}
    data = {"title": scored.data, "classes": scored.classes, "notes": notes, "images": images}
    return RunResult(
        name=name or scored.name,
        run={"dir": str(scored.run.dir), **{key: record[key] for key in FACTS if record[key] is not None}},
        data=DataResult(**record["data"] | data),
        snapshot=SnapshotResult(
            iteration=meta.iteration,
            averaged=meta.averaged or None,
            weights=meta.weights,
            weights_sha256=meta.weights_sha256,
            chosen_on="val" if scored.best_on_val else None,
        ),
        splits=split_results(scored),
        commonest_class_accuracy=scored.metrics["val"].majority_baseline,
        training=training_result(scored.log, scored.curves, scored.run.record.iteration),
        agreement=scored.agreement,
        export=scored.export,
        warnings=scored.warnings,
        notes=scored.notes,
        verdict=_verdict(scored),
    )


def _verdict(scored: ScoredRun) -> str:
    averaged, chosen = scored.scores["val"].meta.averaged, scored.accuracies.chosen
    what = f"the {average_text(averaged)}" if averaged else f"iteration {chosen.iteration:,}"
    reached = Reached(chosen.accuracy, what, chosen.iteration)
    accuracy = measured_on_val(scored.run, scored.curves)
    return run_verdict(scored.run, reached, accuracy, scored.curves, scored.accuracies.majority_baseline)


def split_results(scored: Scored) -> dict[str, SplitResult]:
    """Of each split the figures of the centre crop, and those of ten crops where they were scored."""

    def crop(name: str, scores: Scores) -> CropResult:
        metrics = compute_metrics(scores, scored.classes)
        return CropResult(**measured(metrics), crop=name, clean=_clean(scored, scores))

    temperature = fit_temperature(scored.scores["val"])
    return {
        split: SplitResult(
            **measured(scored.metrics[split]),
            name=scored.split_name(split),
            crop=CENTRE_CROP,
            clean=_clean(scored, scores),
            ten_crop=crop(TEN_CROP, scored.ten_crop[split]) if split in scored.ten_crop else None,
            calibration=_calibration(scores, temperature),
            labels_in_doubt=len(label_issues(scores, temperature)) if split == "val" else None,
        )
        for split, scores in scored.scores.items()
    }


def _calibration(scores: Scores, temperature: float) -> CalibrationResult:
    before, after = calibration(scores), calibration(scores, temperature)
    return CalibrationResult(
        error=before.error,
        log_loss=finite(before.log_loss),
        temperature=temperature,
        scaled_error=after.error,
        scaled_log_loss=finite(after.log_loss),
    )


def _clean(scored: Scored, scores: Scores) -> CleanResult | None:
    """Over the images that do not lie in Training, where that is known."""
    seen = scored.in_training.get(scores.split)
    unseen = None if seen is None else without(scores, seen)
    if unseen is None:
        return None
    metrics = compute_metrics(unseen, scored.classes)
    return CleanResult(**measured(metrics), left_out=len(scores.files) - len(unseen.files))


def measured(metrics: Metrics) -> dict[str, Any]:
    """The fields of Measured: plain numbers, the ROC curves as their areas."""
    interval, wrong = metrics.interval, metrics.misclassification_interval
    made = Measured(
        split=metrics.split,
        count=metrics.count,
        correct=metrics.correct,
        accuracy=metrics.accuracy,
        accuracy_interval_95=(interval.low, interval.high),
        misclassification=metrics.misclassification,
        misclassification_interval_95=(wrong.low, wrong.high),
        balanced_accuracy=metrics.balanced_accuracy,
        log_loss=finite(metrics.log_loss),
        auc_macro=metrics.roc_macro.auc if metrics.roc_macro else None,
        auc_micro=metrics.roc_micro.auc if metrics.roc_micro else None,
        confusion=tuple(map(tuple, metrics.confusion.tolist())),
        classes=tuple(map(_class_result, metrics.classes)),
    )
    return vars(made)


def _class_result(each: ClassMetrics) -> ClassResult:
    facts = {name: value for name, value in vars(each).items() if name != "roc"}
    return ClassResult(**facts, auc=each.roc.auc if each.roc else None)


def training_result(log: Log, curves: Curves, iterations: int | None = None) -> TrainingResult:
    """What the log says; how many `iterations` were done, the record of a run knows better."""
    accuracy, loss = curves.accuracy, curves.loss
    return TrainingResult(
        iterations=curves.last if iterations is None else iterations,
        seconds=log.seconds,
        first_loss=finite(float(loss.values[0])) if len(loss) else None,
        last_loss=finite(float(loss.values[-1])) if len(loss) else None,
        best_accuracy=accuracy.best[1] if accuracy.best else None,
        last_accuracy=finite(float(accuracy.values[-1])) if len(accuracy) else None,
        last_tested=int(accuracy.iterations[-1]) if len(accuracy) else None,
        accuracy_output=curves.main.name or None,
        held_out=curves.held_out,
        lr_below_1_percent_at=curves.collapse,
        not_finite_at=curves.diverged,
        optimization_done=log.optimization_done,
        stopped_early=log.stopped_early,
        truncated=log.truncated,
        fatal=log.fatal,
    )


def mcnemar_result(name_a: str, a: Scored, name_b: str, b: Scored) -> McNemarResult:
    """The test on val, or the reason why there is none."""
    pair = McNemarResult(a=name_a, b=name_b, split="val")
    try:
        return replace(pair, **asdict(mcnemar(a.scores["val"], b.scores["val"])))
    except FerError as error:
        return replace(pair, not_comparable=str(error))


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
