"""What run.json holds: how a run was trained, how far it is, and which of its snapshots are verified."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Gpu = int | str | None  # null, 0 or "0,1"


@dataclass(frozen=True)
class HashedFile:
    """A file of the run by its path inside the run directory; an exported model's run.json has the hash alone."""

    sha256: str
    file: str | None = None


@dataclass(frozen=True)
class SnapshotFiles:
    """A verified snapshot; `extra` is what the PyTorch engine keeps beside the state."""

    weights: HashedFile
    state: HashedFile | None = None
    extra: HashedFile | None = None


@dataclass(frozen=True)
class Average:
    """The mean of these iterations' snapshots; BatchNorm's statistics are of `batches` of the training data."""

    averaged: tuple[int, ...]
    weights: HashedFile
    batches: int = 0


@dataclass(frozen=True)
class TrainedOn:
    """The data directory of a training, and the SHA-256 by path of each file that the net reads or is scored on."""

    dir: str
    files: dict[str, str]
    title: str | None = None
    manifest_sha256: str | None = None
    train_count: int = 0


@dataclass(frozen=True)
class EngineSettings:
    engine: str
    gpu: Gpu
    precision: str


@dataclass(frozen=True)
class EngineChange:
    """From this iteration on another engine, GPU or precision trains."""

    iteration: int
    before: EngineSettings
    after: EngineSettings


@dataclass(frozen=True)
class StartWeights:
    """The .caffemodel that a training began with."""

    file: str
    sha256: str


@dataclass(frozen=True)
class RunRecord:
    """run.json. `max_iter`, `iteration`: the end and what is reached; `ended`: why the training ended there.

    `batch_size` counts the images of an iteration, iter_size and all GPUs included; `repeatable` says how far the same
    command gives the same numbers.
    """

    FORMAT: ClassVar[int] = 1

    state: Literal["training", "finished", "interrupted", "failed"]
    command: tuple[str, ...]
    engine: str
    net: str
    solver: str
    seed: int
    gpu: Gpu
    batch_size: int
    data: TrainedOn
    prototxt_sha256: dict[str, str]
    versions: dict[str, Any]
    hardware: dict[str, Any]
    started: str
    seconds: float
    max_iter: int
    iteration: int
    repeatable: str
    snapshots: dict[int, SnapshotFiles]
    warnings: tuple[str, ...]
    name: str | None = None
    precision: str = "fp32"
    patience: int | None = None
    ended: str | None = None
    averages: dict[str, Average] = field(default_factory=dict)
    weights: StartWeights | None = None
    changes: tuple[EngineChange, ...] = ()
    notes: tuple[str, ...] = ()
    git_commit: str | None = None
    format: int = 1

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(self.engine, self.gpu, self.precision)
