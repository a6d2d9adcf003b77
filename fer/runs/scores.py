"""A run's files of scores: what each says of itself, and which snapshot they choose."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fer.errors import FerError
from fer.runs.record import Count
from fer.runs.run import Run, Snapshot
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import write_bytes
from fer.system.hashes import file_hash
from fer.system.records import as_json, decode_record
from fer.system.shell import command

SCORE_AGAIN = "Delete it and let fer report RUN score again"


@dataclass(frozen=True)
class ScoresMeta:
    """The string `meta` of a scores file: which weights gave the probabilities, of which split.

    weights          of the snapshot, by its path in the run directory
    averaged         the iterations of the snapshots that it is the mean of, if it is one
    database_sha256  of the split's data.mdb
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
    format: int = 1


@dataclass(frozen=True)
class SnapshotScore:
    """A snapshot or mean on val, and the SHA-256 of its weights and of the split's data.mdb."""

    accuracy: float
    loss: float
    weights_sha256: str
    database_sha256: str


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


def chosen_snapshot(run: Run) -> Snapshot:
    """The snapshot or average that scores/val.npz is of: the best on val, unless another was asked for.

    Raises FerError if the run is not scored, or the weights have changed since.
    """
    path, report = run.scores("val"), command("fer", "report", run.dir)
    meta = read_scores(path)[1] if path.is_file() else None
    for snapshot in (*run.snapshots(), *run.averages()):
        if meta and str(snapshot.weights.relative_to(run.dir)) == meta.weights:
            if file_hash(snapshot.weights) != meta.weights_sha256:
                raise FerError(f"{snapshot.weights} changed since it was scored; {report} scores again")
            return snapshot
    raise FerError(f"{run.dir} is not scored, so no snapshot of it is chosen; {report} does both")


def read_scores(path: Path) -> tuple[dict[str, np.ndarray], ScoresMeta]:
    """(files, labels and probs by name, what the file says of itself). Raises FerError naming what is damaged."""
    try:
        arrays = read_arrays(path, ("files", "labels", "probs", "meta"))
    except FileNotFoundError:
        raise FerError(f"{path} is missing: the run is not scored yet (fer report RUN scores it)") from None
    except DamagedArchive as error:
        raise FerError(f"{path}: damaged: {error}. {SCORE_AGAIN}") from error
    meta = str(arrays.pop("meta"))
    return arrays, decode_record(meta, ScoresMeta, f"{path}: meta", SCORE_AGAIN)


def write_scores(path: Path, meta: ScoresMeta, *, files: Any, labels: np.ndarray, probs: np.ndarray) -> None:
    """Write a scores file, atomically: files str [N], labels int64 [N], probs float32 [N,K]."""
    stream = io.BytesIO()
    np.savez(stream, files=np.array(files), labels=labels, probs=probs, meta=json.dumps(as_json(meta)))
    write_bytes(path, stream.getvalue(), parents=True)
