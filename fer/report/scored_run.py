"""What a run directory holds, read and checked: the report is made from this and from nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.data.classes import class_names
from fer.data.dataset import SPLIT_NAMES, held_out
from fer.data.manifest import Manifest, read_manifest
from fer.errors import FerError
from fer.evaluation.metrics import Metrics, compute_metrics
from fer.evaluation.scores import Scores, StoredScores, load_scores
from fer.evaluation.trained_on import check_trained_on
from fer.formats.log import parse_log
from fer.formats.log_records import Log
from fer.formats.prototxt import read_solver
from fer.nets.accuracy import read_accuracy_outputs
from fer.nets.policies import learning_rate
from fer.report.agreement import check_agreement, disagreement
from fer.report.curves import Chosen, Curves, Series, SnapshotAccuracies, make_curves, recall_series
from fer.report.exported import read_export
from fer.report.notes import no_iteration, run_notes
from fer.report.results import AgreementResult, ExportResult
from fer.runs.record import UNKNOWN, average_name, average_text
from fer.runs.run import Run
from fer.runs.scores import SCORE_AGAIN, InTraining, ScoresBySnapshot, ScoresMeta, SnapshotScore
from fer.runs.unchanged import check_run
from fer.system.plural import counted
from fer.system.records import read_record
from fer.system.shell import command

NET_NAMES = {
    "lenet": "LeNet", "alexnet": "AlexNet", "alexnet227": "AlexNet 227", "alexnetbn": "AlexNet BN", "vgg8": "VGG8",
    "vgg13": "VGG13", "resnet18": "ResNet-18", "resnet18h": "ResNet-18 half", "googlenet": "GoogLeNet",
    "googlenetbn": "GoogLeNet BN", "tang": "Tang 2013",
}  # fmt: skip
OTHER_CROPS = "Ten-crop scores of another snapshot are left out; fer report --ten-crop scores this one."
NO_TEST = f"{SPLIT_NAMES['test']} is left out, as asked for by --val-only."


@dataclass(frozen=True)
class Scored:
    """What was scored: a run's chosen snapshot, or several runs' together.

    name         what figures call it: "AlexNet s3"
    data         what figures call the data: "FER2013"
    scores       "val" and, unless it is left out, "test", of the centre crop; ten_crop the same over ten crops, where
                 there are such
    in_training  of each split the files whose images also lie in Training; a split not known has no entry
    manifest     that of the data directory, data_dir; None where it is gone or changed (a note says so)
    warnings     why the figures may not be what they seem to be, to be read before them
    notes        what the reader should know, one sentence each
    """

    name: str
    data: str
    data_dir: Path
    classes: tuple[str, ...]
    scores: Mapping[str, Scores]
    metrics: dict[str, Metrics]
    ten_crop: Mapping[str, Scores]
    in_training: dict[str, frozenset[str]]
    manifest: Manifest | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]

    def split_name(self, split: str) -> str:
        """ "PublicTest (val)"; the file's name where val is the user's own."""
        return _split_name(split, self.scores.get(split))

    def title(self, split: str) -> str:
        return " · ".join((self.name, self.split_name(split), self.data))


@dataclass(frozen=True)
class ScoredRun(Scored):
    """One run, with its training and export; `accuracies` and `recalls` (of each class, if known) are its snapshots' on
    val."""

    scores: Mapping[str, StoredScores]
    run: Run
    log: Log
    curves: Curves
    accuracies: SnapshotAccuracies
    agreement: AgreementResult | None
    export: ExportResult | None
    best_on_val: bool
    """Whether no snapshot that is still there is known to be better on val; else this one was asked for by hand."""
    recalls: tuple[Series, ...] = ()


def read_scored_run(run: Run, *, val_only: bool = False) -> ScoredRun:
    """Read a scored run; `val_only` leaves out what test was scored.

    Raises FerError naming the file that is missing, damaged or does not fit the others.
    """
    log = _read_log(run)
    manifest, data_note = _read_manifest(run)
    scores = {split: load_scores(run.scores(split)) for split in held_out(val_only)}
    _check_scores(run, scores)
    classes = class_names(manifest.classes if manifest else run.record.data.classes, scores["val"].probs.shape[1])
    paths = {split: run.scores(split, ten_crop=True) for split in scores}
    crops = {split: load_scores(path) for split, path in paths.items() if path.is_file()}
    ten_crop = {split: each for split, each in crops.items() if _same_weights(each, scores[split])}
    accuracies = read_accuracy_outputs(run.net, run.solver)
    curves = make_curves(log, _schedule(run), end=run.record.iteration, accuracies=accuracies)
    metrics = {split: compute_metrics(each, classes) for split, each in scores.items()}
    by_snapshot = _by_snapshot(run)
    meta = scores["val"].meta
    snapshots = _accuracies(run, by_snapshot, meta, metrics["val"], ten_crop.get("val"))
    agreement = check_agreement(run, log, by_snapshot, len(scores["val"].files), _snapshot_name(meta))
    export, export_note = read_export(run, meta.weights_sha256, val_only=val_only)
    return ScoredRun(
        run=run,
        name=run_name(run),
        data=str((manifest and manifest.title) or run.record.data.title or "unnamed data"),
        data_dir=Path(run.record.data.dir),
        classes=classes,
        log=log,
        curves=curves,
        scores=scores,
        metrics=metrics,
        ten_crop=ten_crop,
        in_training=_read_in_training(run, scores),
        accuracies=snapshots,
        best_on_val=_none_is_better(run, by_snapshot, snapshots.chosen.accuracy),
        agreement=agreement,
        export=export,
        recalls=recall_series({name: each.recalls for name, each in by_snapshot.items()}, len(classes)),
        manifest=manifest,
        warnings=_warnings(run, agreement, scores),
        notes=tuple(
            run_notes(run, log, curves, metrics)
            + [OTHER_CROPS] * (len(ten_crop) < len(crops))
            + ([data_note] if data_note else [])
            + ([export_note] if export_note else [])
            + [NO_TEST] * val_only
        ),
    )


def _read_log(run: Run) -> Log:
    """The training's log; an empty one of a training made elsewhere without one. Raises FerError."""
    imported = run.record.imported is not None
    if not run.log.is_file() and not (imported and run.record.log_sha256 is None):
        raise FerError(f"{run.log} is missing: the run has no training log to report on")
    check_run(run)
    if not run.log.is_file():
        return Log()
    log = parse_log(run.log)
    if not log.records and not log.optimization_done and not imported:  # with display 0 a whole training shows none
        raise FerError(no_iteration(str(run.log), log))
    return log


def _warnings(run: Run, agreement: AgreementResult | None, scores: Mapping[str, StoredScores]) -> tuple[str, ...]:
    """What is to be read before the figures."""
    elsewhere = run.record.imported is not None
    said = (_elsewhere(run, scores), disagreement(agreement, elsewhere=elsewhere), _own_val(scores["val"].meta))
    return tuple(filter(None, said))


def _elsewhere(run: Run, scores: Mapping[str, StoredScores]) -> str | None:
    """That a run was trained elsewhere, and on what it is scored."""
    made, record = run.record.imported, run.record
    if made is None:
        return None
    by = "by an unknown Caffe" if made.made_by == UNKNOWN else f"by {made.made_by}"
    further = f" From iteration {record.changes[0].iteration:,} on it was trained here." if record.changes else ""
    images = " and ".join(f"{counted(len(s.files), 'image')} of {_split_name(split, s)}" for split, s in scores.items())
    return (
        f"Trained elsewhere, {by}, and imported from {', '.join(made.source)}: what is said of that training is what "
        f"its files say, and on which images it was trained is not known.{further} Scored here on {images} in "
        f"{record.data.dir}: {made.images}. Its own order of classes: {', '.join(made.classes)}."
    )


def run_name(run: Run) -> str:
    """ "AlexNet s3"; the directory's own name where it says more (alexnet-s3-2, --name)."""
    net, solver = run.record.net, run.record.solver
    if run.name != f"{net}-{solver}":
        return run.name
    return f"{NET_NAMES.get(net, net)} {solver}"


def _data_dir(run: Run) -> Path:
    return Path(run.record.data.dir)


def _read_manifest(run: Run) -> tuple[Manifest | None, str]:
    """The manifest of the data that was trained on, or None and the reason."""
    folder = _data_dir(run)
    try:
        manifest = read_manifest(folder)
    except FerError:
        return None, f"The data directory {folder} is gone or unreadable: class counts and mistakes are not shown."
    try:
        check_trained_on(run, manifest)
    except FerError:
        return None, f"The data directory {folder} was made anew since: class counts and mistakes are not shown."
    return manifest, ""


def _schedule(run: Run) -> Callable[[int], float] | None:
    """The solver's rate by iteration; None where the solver cannot be read, so that the log's own rates serve."""
    try:
        solver = read_solver(run.solver)
        learning_rate(solver, 0)
    except FerError:
        return None
    return lambda iteration: learning_rate(solver, iteration)


def _check_scores(run: Run, scores: dict[str, StoredScores]) -> None:
    """Val and test must be scored with the same weights, and those must be the run's verified snapshot."""
    used = {split: each.meta.weights_sha256 for split, each in scores.items()}
    cure = f"delete {run.scores('val').parent} and let {command('fer', 'report', run.dir)} score again"
    if len(set(used.values())) > 1:
        raise FerError(f"{run.dir}: val and test were scored with different snapshots: {cure}")
    name = _snapshot_name(scores["val"].meta)
    known = {str(iteration): files.weights for iteration, files in run.record.snapshots.items()}
    known |= {name: average.weights for name, average in run.record.averages.items()}
    if name in known and known[name].sha256 != used["val"]:
        raise FerError(f"{run.dir}: the scores are of other weights than snapshot {name}'s: {cure}")
    for split, each in scores.items():
        if each.split != split:
            raise FerError(f"{run.scores(split)} holds the scores of {each.split!r}: {cure}")


def _read_in_training(run: Run, scores: dict[str, StoredScores]) -> dict[str, frozenset[str]]:
    """What scoring has found; nothing where it was made of other data than the scores, or by an older fer."""
    if not run.in_training.is_file():
        return {}
    found = read_record(run.in_training, InTraining, SCORE_AGAIN)
    return {
        split: frozenset(found.val if split == "val" else found.test)
        for split, each in scores.items()
        if found.database_sha256.get(split) == each.meta.database_sha256
    }


def _same_weights(a: StoredScores, b: StoredScores) -> bool:
    return a.meta.weights_sha256 == b.meta.weights_sha256


def _snapshot_name(meta: ScoresMeta) -> str:
    return average_name(meta.averaged) if meta.averaged else str(meta.iteration)


def _by_snapshot(run: Run) -> dict[str, SnapshotScore]:
    """val_by_snapshot.json, which scoring keeps."""
    path = run.scores_by_snapshot
    return read_record(path, ScoresBySnapshot, SCORE_AGAIN).snapshots if path.is_file() else {}


def _own_val(meta: ScoresMeta) -> str | None:
    """What is to be known of a val that is the user's own."""
    if not meta.own:
        return None
    return f"Val is {meta.database}, on which the net was tested, and not PublicTest of the data directory."


def _split_name(split: str, scores: Scores | None) -> str:
    if isinstance(scores, StoredScores) and scores.meta.own:
        return f"{Path(scores.meta.database).name} ({split})"
    return SPLIT_NAMES.get(split, split)


def _accuracies(
    run: Run, scored: Mapping[str, SnapshotScore], meta: ScoresMeta, val: Metrics, ten_crop: StoredScores | None
) -> SnapshotAccuracies:
    """The accuracies of all snapshots; `meta` is of the chosen one's scores."""
    known = {name: each.accuracy for name, each in scored.items() if math.isfinite(each.accuracy)}
    means = {name: average.averaged[-1] for name, average in run.record.averages.items() if name in known}
    averaged = meta.averaged
    chosen = Chosen(
        average_text(averaged) if averaged else f"{meta.iteration:,}",
        meta.iteration,
        known.get(_snapshot_name(meta), val.accuracy),
        None if ten_crop is None else float(ten_crop.correct.mean()),
    )
    return SnapshotAccuracies(
        Series.of(sorted((int(name), known[name]) for name in known if name.isdecimal())),
        Series.of(sorted((iteration, known[name]) for name, iteration in means.items())),
        chosen,
        val.majority_baseline,
    )


def _none_is_better(run: Run, scored: Mapping[str, SnapshotScore], accuracy: float) -> bool:
    there = {snapshot.name for snapshot in (*run.snapshots(), *run.averages())}
    return not any(each.accuracy > accuracy for name, each in scored.items() if name in there)


def unique_names(runs: Sequence[ScoredRun]) -> list[str]:
    """A name for each run; the directory's where two would be called alike."""
    names = [each.name for each in runs]
    return [each.run.name if names.count(each.name) > 1 else each.name for each in runs]
