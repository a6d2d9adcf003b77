"""What a report says, as its metrics.json holds it: of a run, of several side by side, as an ensemble, of a log."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from fer import __version__
from fer.inference.model_record import FormRecord

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """One class against the rest. Undefined figures (no such image, never predicted) are None."""

    name: str
    support: int
    predicted: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of one split; `confusion[i][j]` counts the images of class i that were called j."""

    split: str
    count: int
    correct: int
    accuracy: float
    accuracy_interval_95: Interval
    misclassification: float
    misclassification_interval_95: Interval
    balanced_accuracy: float
    log_loss: float | None
    auc_macro: float | None
    auc_micro: float | None
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassResult, ...]


@dataclass(frozen=True, kw_only=True)
class CleanResult(Measured):
    """Without the images that also lie in Training."""

    left_out: int


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """The expected calibration error (15 bins) and log loss as trained, and with the logits divided by `temperature`,
    which was fitted on val."""

    error: float
    log_loss: float | None
    temperature: float
    scaled_error: float
    scaled_log_loss: float | None


@dataclass(frozen=True, kw_only=True)
class CropResult(Measured):
    """Over the centre crop or ten crops; `clean` is None where it is not known what lies in Training."""

    crop: str
    clean: CleanResult | None = None


@dataclass(frozen=True, kw_only=True)
class SplitResult(CropResult):
    """The centre crop's figures, and those of ten crops where they were scored; `labels_in_doubt` counts the images of
    val whose label the net's answers cast doubt on."""

    name: str
    ten_crop: CropResult | None = None
    calibration: CalibrationResult | None = None
    labels_in_doubt: int | None = None


@dataclass(frozen=True, kw_only=True)
class SnapshotResult:
    """The snapshot, or mean of snapshots, that was scored; `averaged` are the iterations of these, or the one up to
    which an exponential average was kept. `chosen_on` is None where it was asked for by hand."""

    iteration: int
    averaged: tuple[int, ...] | None = None
    weights: str
    weights_sha256: str
    chosen_on: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a log says; `held_out` is what the data of its tests is called, `accuracy_output` the accuracy's name."""

    iterations: int
    seconds: float | None
    first_loss: float | None
    last_loss: float | None
    best_accuracy: float | None
    last_accuracy: float | None
    last_tested: int | None = None
    accuracy_output: str | None = None
    held_out: str
    lr_below_1_percent_at: int | None
    not_finite_at: int | None
    optimization_done: bool
    stopped_early: bool
    truncated: bool
    fatal: str | None


@dataclass(frozen=True, kw_only=True)
class DataResult:
    """`notes` are those of manifest.json: what was left out of the source, and how the rest was fitted."""

    title: str
    dir: str | None = None
    manifest_sha256: str | None = None
    train_count: int | None = None
    files: dict[str, str] | None = None
    images: dict[str, str] | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class McNemarResult:
    """McNemar's test of two nets; `not_comparable` says why there is none."""

    a: str
    b: str
    split: str
    only_a: int | None = None
    only_b: int | None = None
    both: int | None = None
    neither: int | None = None
    p_value: float | None = None
    not_comparable: str | None = None


@dataclass(frozen=True, kw_only=True)
class AgreementResult:
    """A snapshot's accuracy on val as the log of the training has it, of `logged_images`, and as the report does.

    `undecided` images lie so near between two answers that rounding decides; `apart` counts the right answers that the
    two differ by beyond what these and the images that only one of them counts explain: 0 where they agree.
    """

    iteration: int
    logged: float
    logged_images: int
    scored: float
    scored_images: int
    undecided: int
    apart: int


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The forms of the run's export, each as it was proved when it was written; without test where that is left out."""

    dir: str
    forms: dict[str, FormRecord]


@dataclass(frozen=True, kw_only=True)
class Result:
    """`warnings` come before all else; `verdict` says what was reached and what to do next; `report` is the folder of
    the report, `files` are the names of what it holds.

    `made_from` and `files_sha256` are the hashes by which `fer.report.kept` knows that it need not be made again.
    """

    FORMAT: ClassVar[int] = 1

    name: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...]
    verdict: str = ""
    report: str = ""
    files: tuple[str, ...] = ()
    made_from: str = ""
    files_sha256: str = ""
    fer_version: str = __version__
    format: int = 1


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """`run` are the facts of run.json that tell how the run was trained."""

    kind: Literal["run"] = "run"
    run: dict[str, Any]
    data: DataResult
    snapshot: SnapshotResult
    splits: dict[str, SplitResult]
    commonest_class_accuracy: float
    training: TrainingResult
    agreement: AgreementResult | None = None
    export: ExportResult | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonResult(Result):
    kind: Literal["comparison"] = "comparison"
    data: DataResult
    runs: tuple[RunResult, ...]
    mcnemar: tuple[McNemarResult, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleResult(Result):
    kind: Literal["ensemble"] = "ensemble"
    data: DataResult
    members: tuple[RunResult, ...]
    splits: dict[str, SplitResult]
    commonest_class_accuracy: float
    mcnemar: tuple[McNemarResult, ...]


@dataclass(frozen=True, kw_only=True)
class LogResult(Result):
    kind: Literal["log"] = "log"
    log: str
    training: TrainingResult


AnyResult = RunResult | ComparisonResult | EnsembleResult | LogResult
