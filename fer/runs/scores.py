"""A run's files of scores: what each says of itself, and which snapshot they choose."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np

from fer.errors import FerError
from fer.runs.record import Count
from fer.runs.run import Run, Snapshot
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import write_bytes
from fer.system.hashes import content_hash, file_hash
from fer.system.records import decode_record, seal_record
from fer.system.shell import command

SCORE_AGAIN = "Delete it and let fer report RUN score again"


@dataclass(frozen=True)
class ScoresMeta:
    """The string `meta` of a scores file: which weights gave the probabilities, of which split.

    weights          of the snapshot, by its path in the run directory
    averaged         the iterations of the snapshots that it is the mean of, if it is one; an exponential average's own
    database_sha256  of the split's data.mdb; of a list, over it and its image files
    deploy_sha256, transform_sha256   of the net, and of crop, mean, scale and resize ("" by fer 0.1)
    database         its path; `own` where it is not the data directory's
    shape            (channels, height, width) of its images
    arrays_sha256    of the file's other arrays, by content_hash
    seconds          that the engine took
    """

    FORMAT: ClassVar[int] = 1

    split: str
    iteration: Count
    weights: str
    weights_sha256: str
    ten_crop: bool
    engine: str
    database_sha256: str
    averaged: tuple[Count, ...] = ()
    database: str = ""
    seconds: float = 0.0
    deploy_sha256: str = ""
    transform_sha256: str = ""
    own: bool = False
    shape: tuple[Count, ...] = ()
    arrays_sha256: str = ""
    format: int = 1


@dataclass(frozen=True)
class SnapshotScore:
    """A snapshot or mean on val, and what it was made of, as in ScoresMeta.

    `undecided` counts the images whose right answer and another are so near to each other that rounding decides;
    `recalls` has the share of each class that is right, None of a class without images (() by fer 0.1).
    """

    accuracy: float
    loss: float
    weights_sha256: str
    database_sha256: str
    deploy_sha256: str = ""
    transform_sha256: str = ""
    undecided: int | None = None
    recalls: tuple[float | None, ...] = ()


class MadeOf(TypedDict):
    """What scores are made of, by the names of their fields."""

    weights_sha256: str
    database_sha256: str
    deploy_sha256: str
    transform_sha256: str


MADE_OF = {
    "weights_sha256": "its weights",
    "database_sha256": "the images",
    "deploy_sha256": "deploy.prototxt",
    "transform_sha256": "the crop, mean, scale or size of the images",
}
"""The fields that tell what scores were made of, and what they are of."""


@dataclass(frozen=True)
class ScoresBySnapshot:
    """val_by_snapshot.json: every snapshot and mean that was scored on val, by its name ("10000", "average_20-60")."""

    FORMAT: ClassVar[int] = 2

    snapshots: dict[str, SnapshotScore]
    format: int = 2

    @classmethod
    def upgrade(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Format 1 was the snapshots alone."""
        return fields if "format" in fields else {"snapshots": fields}


@dataclass(frozen=True)
class InTraining:
    """in_training.json: the files of val and test whose pixels lie in Training too, as these databases have them."""

    FORMAT: ClassVar[int] = 1

    val: tuple[str, ...]
    test: tuple[str, ...]
    database_sha256: dict[str, str]
    format: int = 1


def chosen_snapshot(run: Run) -> tuple[Snapshot, ScoresMeta]:
    """The snapshot or average that scores/val.npz is of, and what that says: the best on val, unless another was asked
    for.

    Raises FerError if the run is not scored, or the weights or the deploy net have changed since.
    """
    path, report = run.scores("val"), command("fer", "report", run.dir)
    meta = read_scores(path)[1] if path.is_file() else None
    for snapshot in (*run.snapshots(), *run.averages()):
        if meta and str(snapshot.weights.relative_to(run.dir)) == meta.weights:
            made_of = {snapshot.weights: meta.weights_sha256, run.deploy: meta.deploy_sha256}
            for file, known in made_of.items():
                if known and file_hash(file) != known:
                    raise FerError(f"{file} changed since it was scored; {report} scores again")
            return snapshot, meta
    raise FerError(f"{run.dir} is not scored, so no snapshot of it is chosen; {report} does both")


def read_scores(path: Path) -> tuple[dict[str, np.ndarray], ScoresMeta]:
    """(files, labels and probs by name, what the file says of itself). Raises FerError where the file is damaged or not
    as it was written."""
    try:
        arrays = read_arrays(path, ("files", "labels", "probs", "meta"))
    except FileNotFoundError:
        raise FerError(f"{path} is missing: the run is not scored yet (fer report RUN scores it)") from None
    except DamagedArchive as error:
        raise FerError(f"{path}: damaged: {error}. {SCORE_AGAIN}") from error
    meta = decode_record(str(arrays.pop("meta")), ScoresMeta, f"{path}: meta", SCORE_AGAIN)
    if meta.arrays_sha256 and meta.arrays_sha256 != content_hash(arrays["files"], arrays["labels"], arrays["probs"]):
        raise FerError(f"{path}: edited since fer wrote it. {SCORE_AGAIN}")
    return arrays, meta


def write_scores(path: Path, meta: ScoresMeta, *, files: Any, labels: np.ndarray, probs: np.ndarray) -> None:
    """Write a scores file, atomically: files str [N], labels int64 [N], probs float32 [N,K]."""
    names = np.array(files)
    sealed = seal_record(replace(meta, arrays_sha256=content_hash(names, labels, probs)))
    stream = io.BytesIO()
    np.savez(stream, files=names, labels=labels, probs=probs, meta=sealed.decode())
    write_bytes(path, stream.getvalue(), parents=True)
