"""What a run directory holds, read and checked: the report is made from this and from nothing else."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from fer.data.dataset import CLASSES, SPLIT_NAMES, held_out
from fer.data.manifest import MANIFEST, Manifest, read_manifest
from fer.errors import FerError
from fer.evaluation.metrics import Metrics, Scores, compute_metrics, load_scores
from fer.formats.log import Log, parse_log
from fer.formats.prototxt import read_solver
from fer.nets.policies import early_collapse, learning_rate
from fer.report.curves import Chosen, Curves, Exact, Series, collapse_sentence, make_curves
from fer.report.plots.scores import Mistake
from fer.runs.run import Run, average_name
from fer.system.files import sha256
from fer.system.shell import command

NET_NAMES = {
    "lenet": "LeNet", "alexnet": "AlexNet", "alexnet227": "AlexNet 227", "alexnetbn": "AlexNet BN", "vgg8": "VGG8",
    "vgg13": "VGG13", "resnet18": "ResNet-18", "resnet18h": "ResNet-18 half", "googlenet": "GoogLeNet",
    "tang": "Tang 2013",
}  # fmt: skip
OTHER_CROPS = "Ten-crop scores of another snapshot are left out; fer report --ten-crop scores this one."
NO_TEST = f"{SPLIT_NAMES['test']} is left out, as asked for by --val-only."
SHEET = 24  # mistakes on the contact sheet


@dataclass(frozen=True)
class Scored:
    """What was scored: a run's chosen snapshot, or several runs' together.

    name         what figures call it: "AlexNet s3"
    data         what figures call the data: "FER2013"
    scores       "val" and, unless it is left out, "test", of the centre crop; ten_crop the same over ten crops, where
                 there are such
    in_training  of each split the files whose images also lie in Training; a split not known has no entry
    manifest     that of the data directory, data_dir; None where it is gone or changed (a note says so)
    notes        what the reader should know, one sentence each
    """

    name: str
    data: str
    data_dir: Path
    classes: tuple[str, ...]
    scores: dict[str, Scores]
    metrics: dict[str, Metrics]
    ten_crop: dict[str, Scores]
    in_training: dict[str, frozenset[str]]
    manifest: Manifest | None
    notes: tuple[str, ...]

    def title(self, split: str) -> str:
        return " · ".join((self.name, SPLIT_NAMES[split], self.data))


@dataclass(frozen=True)
class Evidence(Scored):
    """One run, with its training; `exact` are the val accuracies of all its snapshots and their means."""

    run: Run
    log: Log
    curves: Curves
    exact: Exact

    @property
    def best_on_val(self) -> bool:
        """Whether no snapshot is known to be better on val; else this one was asked for by hand."""
        chosen = self.exact.chosen
        known = (*self.exact.snapshots.values, *self.exact.averages.values)
        return chosen is None or all(value <= chosen.accuracy for value in known)


def read_evidence(run: Run, *, val_only: bool = False) -> Evidence:
    """Reads a scored run; `val_only` leaves out what test was scored.

    Raises FerError naming the file that is missing, damaged or does not fit the others.
    """
    if not run.log.is_file():
        raise FerError(f"{run.log} is missing: the run has no training log to report on")
    log = parse_log(run.log)
    if not log.records and not log.optimization_done:  # with display 0 a whole training shows none
        raise FerError(no_iteration(str(run.log), log))
    manifest, data_note = _read_manifest(run)
    scores = {split: load_scores(run.scores(split)) for split in held_out(val_only)}
    _check_scores(run, scores)
    classes = _classes(manifest, scores["val"].probs.shape[1])
    paths = {split: run.scores(split, ten_crop=True) for split in scores}
    crops = {split: load_scores(path) for split, path in paths.items() if path.is_file()}
    ten_crop = {split: each for split, each in crops.items() if _same_weights(each, scores[split])}
    curves = make_curves(log, _schedule(run), end=run.record.iteration)
    metrics = {split: compute_metrics(each, classes) for split, each in scores.items()}
    return Evidence(
        run=run,
        name=run_name(run),
        data=str((manifest and manifest.title) or run.record.data.title or "unnamed data"),
        data_dir=_data_dir(run),
        classes=classes,
        log=log,
        curves=curves,
        scores=scores,
        metrics=metrics,
        ten_crop=ten_crop,
        in_training=_read_in_training(run, scores),
        exact=_exact(run, scores["val"].meta, metrics["val"], ten_crop.get("val")),
        manifest=manifest,
        notes=tuple(
            _notes(run, log, curves, metrics)
            + [OTHER_CROPS] * (len(ten_crop) < len(crops))
            + ([data_note] if data_note else [])
            + [NO_TEST] * val_only
        ),
    )


def run_name(run: Run) -> str:
    """ "AlexNet s3"; the directory's own name where it says more (alexnet-s3-2, --name)."""
    net, solver = run.record.net, run.record.solver
    if run.name != f"{net}-{solver}":
        return run.name
    return f"{NET_NAMES.get(net, net)} {solver}"


def no_iteration(name: str, log: Log) -> str:
    last = f"; its last words: {log.fatal}" if log.fatal else ""
    return f"{name} ends before the first displayed iteration{last}"


def find_mistakes(evidence: Scored, split: str = "val", count: int = SHEET) -> list[Mistake]:
    """The wrong answers the net was surest of, with their images; those whose image is gone are left out."""
    if evidence.manifest is None:
        return []
    scores, folder = evidence.scores[split], evidence.data_dir / split
    surest = (-scores.probs.max(axis=1)).argsort(kind="stable")
    mistakes: list[Mistake] = []
    for index in (int(i) for i in surest if not scores.correct[i]):
        image = _read_image(folder, scores.files[index])
        if image is not None:
            true, predicted = int(scores.labels[index]), int(scores.predictions[index])
            names = evidence.classes[true], evidence.classes[predicted]
            mistakes.append(
                Mistake(image, *names, float(scores.probs[index, predicted]), Path(scores.files[index]).name)
            )
        if len(mistakes) == count:
            break
    return mistakes


def _read_image(folder: Path, file: str) -> Any:
    """uint8 [H,W], or None. A database's key is its file with a number in front."""
    for name in (file, re.sub(r"^\d{8}_", "", file)):
        if (path := folder / name).is_file():
            return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None


def _data_dir(run: Run) -> Path:
    return Path(run.record.data.dir)


def _same_files(run: Run, manifest: Manifest) -> bool:
    """Whether the data, prepared again, came out the same to the last byte of what the run was trained on."""
    trained_on = run.record.data.files
    made = {str(_data_dir(run) / name): entry.sha256 for name, entry in manifest.files.items()}
    return bool(trained_on) and all(made.get(path) == known for path, known in trained_on.items())


def _read_manifest(run: Run) -> tuple[Manifest | None, str]:
    """The manifest of the data that was trained on, or None and the reason."""
    folder, known = _data_dir(run), run.record.data.manifest_sha256
    try:
        manifest = read_manifest(folder)
        changed = known is not None and sha256(folder / MANIFEST) != known and not _same_files(run, manifest)
    except FerError:
        return None, f"The data directory {folder} is gone or unreadable: class counts and mistakes are not shown."
    if changed:
        return None, f"The data directory {folder} was made anew since: class counts and mistakes are not shown."
    return manifest, ""


def _classes(manifest: Manifest | None, count: int) -> tuple[str, ...]:
    names = manifest.classes if manifest else CLASSES
    return names if len(names) == count else tuple(f"class {index}" for index in range(count))


def _schedule(run: Run) -> Callable[[int], float] | None:
    """The solver's rate by iteration; None where the solver cannot be read, so that the log's own rates serve."""
    try:
        solver = read_solver(run.solver)
        learning_rate(solver, 0)
    except FerError:
        return None
    return lambda iteration: learning_rate(solver, iteration)


def _check_scores(run: Run, scores: dict[str, Scores]) -> None:
    """Val and test must be scored with the same weights, and those must be the run's verified snapshot."""
    used = {split: (each.meta.get("iteration"), each.meta.get("weights_sha256")) for split, each in scores.items()}
    cure = f"delete {run.scores('val').parent} and let {command('fer', 'report', run.dir)} score again"
    if len(set(used.values())) > 1:
        raise FerError(f"{run.dir}: val and test were scored with different snapshots: {cure}")
    digest = used["val"][1]
    name = _snapshot_name(scores["val"].meta)
    known = {str(iteration): files.weights for iteration, files in run.record.snapshots.items()}
    known |= {name: average.weights for name, average in run.record.averages.items()}
    if name in known and digest and known[name].sha256 != digest:
        raise FerError(f"{run.dir}: the scores are of other weights than snapshot {name}'s: {cure}")
    for split, each in scores.items():
        if each.split != split:
            raise FerError(f"{run.scores(split)} holds the scores of {each.split!r}: {cure}")


def _read_in_training(run: Run, scores: dict[str, Scores]) -> dict[str, frozenset[str]]:
    """What scoring has found; nothing where it was made of other data than the scores, or by an older fer."""
    path = run.in_training
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            split: frozenset(found[split])
            for split, each in scores.items()
            if found["database_sha256"][split] == each.meta.get("database_sha256")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FerError(f"{path} is damaged ({error}): delete it and let fer report make it again") from error


def _same_weights(a: Scores, b: Scores) -> bool:
    return bool(a.meta.get("weights_sha256") == b.meta.get("weights_sha256"))


def _snapshot_name(meta: dict[str, Any]) -> str:
    averaged = meta.get("averaged")
    return average_name(averaged) if averaged else str(meta.get("iteration"))


def _exact(run: Run, meta: dict[str, Any], val: Metrics, ten_crop: Scores | None) -> Exact:
    """The accuracies of val_by_snapshot.json, which scoring keeps; `meta` is of the chosen one's scores."""
    path = run.scores_by_snapshot
    averages = {name: entry.averaged[-1] for name, entry in run.record.averages.items()}
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        known = {name: float(each["accuracy"]) for name, each in entries.items()}
        points = [sorted((int(name), known[name]) for name in known if name.isdecimal())]
        points += [sorted((iteration, known[name]) for name, iteration in averages.items() if name in known)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FerError(f"{path} is damaged ({error}): delete it and let fer report score again") from error
    snapshots, means = (Series.of([point for point in each if math.isfinite(point[1])]) for each in points)
    chosen = None
    if (iteration := meta.get("iteration")) is not None:
        averaged = meta.get("averaged")
        name = f"mean of {averaged[0]:,} to {averaged[-1]:,}" if averaged else f"{iteration:,}"
        accuracy = known.get(_snapshot_name(meta), val.accuracy)
        chosen = Chosen(name, iteration, accuracy, None if ten_crop is None else float(ten_crop.correct.mean()))
    return Exact(snapshots, means, chosen, floor=val.commonest_class)


def _notes(
    run: Run,
    log: Log,
    curves: Curves,
    metrics: dict[str, Metrics],
) -> list[str]:
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


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def unique_names(evidences: Sequence[Evidence]) -> list[str]:
    """A name for each run; the directory's where two would be called alike."""
    names = [each.name for each in evidences]
    return [each.run.name if names.count(each.name) > 1 else each.name for each in evidences]
