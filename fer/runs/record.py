"""What run.json holds: how a run was trained, how far it is, and which of its snapshots are verified."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from fer.system.records import check_inside, check_name

Gpu = int | str | None  # null, 0 or "0,1"
Count = Annotated[int, Meta(ge=0, lt=2**31)]  # as Caffe counts
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
UNKNOWN = "unknown"
"""What a record says of a training made elsewhere where its files do not tell."""


def average_name(averaged: Sequence[int]) -> str:
    """What the mean of the snapshots of these iterations is called; of one, the exponential average up to it."""
    return f"average_{averaged[0]}-{averaged[-1]}" if len(averaged) > 1 else f"ema_{averaged[0]}"


def average_text(averaged: Sequence[int]) -> str:
    """The same for a reader: "mean of 5 snapshots, 6,000 to 10,000", "exponential average up to 10,000"."""
    if len(averaged) == 1:
        return f"exponential average up to {averaged[0]:,}"
    return f"mean of {len(averaged)} snapshots, {averaged[0]:,} to {averaged[-1]:,}"


@dataclass(frozen=True)
class HashedFile:
    """A file of the run by its path inside the run directory; an exported model's run.json has the hash alone."""

    sha256: str
    file: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a file that is not in the run directory."""
        if self.file is not None:
            check_inside(self.file)


@dataclass(frozen=True)
class SnapshotFiles:
    """A verified snapshot; `extra` is what an engine of ours keeps beside the state."""

    weights: HashedFile
    state: HashedFile | None = None
    extra: HashedFile | None = None


@dataclass(frozen=True)
class Average:
    """The mean of these iterations' snapshots; BatchNorm's statistics are of `batches` of the training data.

    Of one iteration alone: the exponential average of the weights that the engine has kept up to it.
    """

    averaged: Annotated[tuple[Count, ...], Meta(min_length=1)]
    weights: HashedFile
    batches: Count = 0

    @property
    def name(self) -> str:
        """What --snapshot calls it: "average_6000-10000", "ema_10000"."""
        return average_name(self.averaged)


@dataclass(frozen=True)
class ListedImages:
    """The SHA-256 over the images that a list names, with `root` in front of each name."""

    list: str
    root: str
    sha256: str

    def moved(self, move: Callable[[str], str]) -> "ListedImages":
        """The same with other paths; the last slash of a root, which counts, stays."""
        folder = self.root.rstrip("/")
        return replace(
            self, list=move(self.list), root=move(folder) + self.root[len(folder) :] if folder else self.root
        )


@dataclass(frozen=True)
class TrainedOn:
    """The data directory of a training, and the SHA-256 by path of each file that the net reads or is scored on.

    `images` are those of the lists among the files.
    `classes` are the names of the labels, none in runs of fer 0.1, whose classes are FER2013's.
    """

    dir: str
    files: dict[str, str]
    title: str | None = None
    manifest_sha256: str | None = None
    train_count: Count = 0
    classes: tuple[str, ...] = ()
    images: tuple[ListedImages, ...] = ()


@dataclass(frozen=True)
class EngineSettings:
    engine: str
    gpu: Gpu
    precision: str


@dataclass(frozen=True)
class EngineChange:
    """From this iteration on another engine, GPU or precision trains."""

    iteration: Count
    before: EngineSettings
    after: EngineSettings


@dataclass(frozen=True)
class StartWeights:
    """The .caffemodel that a training began with."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ImportedFile:
    """A file that was taken for a part of a training made elsewhere."""

    part: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Imported:
    """How a training made elsewhere became a run.

    source   what was given to fer import
    engine   that scores it here, as long as it was not trained on
    classes  its own names of the classes, in its own order; its parameters are in the data's order
    images   how the data's faces are brought to its input, in a sentence
    made_by  the Caffe that trained it, where a file says it
    """

    source: tuple[str, ...]
    engine: str
    classes: tuple[str, ...]
    images: str
    files: tuple[ImportedFile, ...]
    made_by: str = UNKNOWN


@dataclass(frozen=True)
class RunRecord:
    """run.json. `max_iter`, `iteration`: the end and what is reached; `ended`: why the training ended there.

    `batch_size` counts the images of an iteration, iter_size and all GPUs included; `repeatable` says how far the same
    command gives the same numbers; `log_sha256` is of the log at the training's last ending, none while it goes on,
    and `next_sha256` of prototxts that are being written anew; `given` is what the command line set in the prototxts'
    place, by name, and `adapted` says what of them was set for the data at hand; `dir` is where the run
    lay when it was trained last; `ema` is the decay of the exponential average of the weights, if one is kept. Of a
    training made elsewhere (`imported`) what is not known is "unknown" or null.
    """

    FORMAT: ClassVar[int] = 1

    state: Literal["training", "finished", "interrupted", "failed"]
    command: tuple[str, ...]
    engine: str
    net: str
    solver: str
    seed: int
    gpu: Gpu
    batch_size: Count
    data: TrainedOn
    prototxt_sha256: dict[str, str]
    versions: dict[str, Any]
    hardware: dict[str, Any]
    started: str
    seconds: Seconds | None
    max_iter: Count
    iteration: Count
    repeatable: str
    snapshots: dict[Count, SnapshotFiles]
    warnings: tuple[str, ...]
    name: str | None = None
    precision: str = "fp32"
    patience: Count | None = None
    ema: Annotated[float, Meta(gt=0, lt=1)] | None = None
    ended: str | None = None
    averages: dict[str, Average] = field(default_factory=dict)
    weights: StartWeights | None = None
    changes: tuple[EngineChange, ...] = ()
    notes: tuple[str, ...] = ()
    given: dict[str, float] = field(default_factory=dict)
    dir: str | None = None
    adapted: tuple[str, ...] = ()
    git_commit: str | None = None
    log_sha256: str | None = None
    next_sha256: dict[str, str] = field(default_factory=dict)
    imported: Imported | None = None
    format: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for names that lead elsewhere, and a mean listed under another name than its own."""
        for name in (self.net, self.name or "run", *self.prototxt_sha256, *self.next_sha256):
            check_name(name)
        for name, average in self.averages.items():
            if name != average.name:
                raise ValueError(f"averages.{name}: is of {average.name}")

    @property
    def iterations_per_epoch(self) -> float:
        """0 where the images of an iteration or an epoch are not known."""
        return self.data.train_count / self.batch_size if self.batch_size else 0.0

    @property
    def is_exported(self) -> bool:
        """Whether it stands in an exported model, which has no snapshots but the hash of the one that it was."""
        snapshots: list[SnapshotFiles | Average] = [*self.snapshots.values(), *self.averages.values()]
        return any(each.weights.file is None for each in snapshots)

    @property
    def scoring_engine(self) -> str:
        """The name of the engine that scores it: the one that trained it, where that is known."""
        return self.imported.engine if self.imported and self.engine == UNKNOWN else self.engine

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(self.engine, self.gpu, self.precision)
