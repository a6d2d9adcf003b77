"""Scoring a run exactly: each image once, the snapshot chosen on val, test scored with that one alone.

score_run(Run("runs/lenet-s2"))          # writes runs/lenet-s2/scores/
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from fer.data.dataset import Split, held_out
from fer.data.directory import verify_data
from fer.data.leaks import in_training
from fer.engines.engine import Engine
from fer.engines.registry import find_engine
from fer.errors import FerError
from fer.evaluation.scores import log_loss, make_scores
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.nets.states import State, test_transform
from fer.runs.run import Run, Snapshot
from fer.runs.scores import (
    SCORE_AGAIN,
    InTraining,
    ScoresBySnapshot,
    ScoresMeta,
    SnapshotScore,
    read_scores,
    write_scores,
)
from fer.runs.snapshots import Shapes, verify_weights
from fer.runs.unchanged import check_data, check_run
from fer.system.files import sha256
from fer.system.progress import StageProgress
from fer.system.records import NewerFormat, Record, read_record, write_record
from fer.system.shell import command

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class StoredSplit:
    """A split as an engine scores it: uint8 images [N,C,H,W] in a .npy, their labels int64 [N] and file names."""

    database: Path
    npy: Path
    labels: np.ndarray
    files: Sequence[str]


def score_run(
    run: Run,
    *,
    ten_crop: bool = False,
    snapshot: int | str | None = None,
    val_only: bool = False,
    progress: StageProgress | None = None,
) -> None:
    """Score a run's verified snapshots and their averages on val, choose the best (of equals the earliest), score
    test with it once.

    Writes scores/val_by_snapshot.json, and of the chosen one scores/val.npz and test.npz (with `ten_crop` also
    val_tencrop and test_tencrop): files str [N], labels int64 [N], probs float32 [N,K], and meta, a JSON string.
    What was scored already, with the same weights and data, is not scored again.
    Also scores/in_training.json: the files of val and test whose pixels lie in the data directory's Training too.

    ten_crop  score the chosen snapshot on the average of ten crops too; the choice is made on the centre crop
    snapshot  take the one of this iteration, or the average of this name, instead of choosing
    val_only  leave test unscored

    Raises FerError if there is nothing to score, the data or a snapshot has changed, or a net answers nan.
    """
    check_run(run)
    snapshots = [*run.snapshots(), *run.averages()]
    if not snapshots:
        resume = command("fer", "train", "--resume", run.dir)
        raise FerError(f"{run.dir} has no verified snapshot to score; train it further: {resume}")
    if snapshot is not None and all(known.name != str(snapshot) for known in snapshots):
        raise FerError(f"{run.dir} has no snapshot {snapshot}; it has {', '.join(known.name for known in snapshots)}")
    with tempfile.TemporaryDirectory(prefix="fer-score-") as scratch:
        scorer = _Scorer(run, Path(scratch), progress or (lambda stage, done, total: None))
        wanted = [known for known in snapshots if snapshot is None or known.name == str(snapshot)]
        by_snapshot = scorer.validate(wanted)
        chosen = max(wanted, key=lambda known: (by_snapshot[known.name].accuracy, -known.iteration))
        for split in held_out(val_only):
            for crops in sorted({False, ten_crop}):
                scorer.keep(split, chosen, crops)
        scorer.note_leaks()


def score_end(run: Run) -> dict[str, float]:
    """{"accuracy", "loss"} on val of a run's last snapshot, kept in val_by_snapshot.json.

    Raises FerError as `score_run` does.
    """
    with tempfile.TemporaryDirectory(prefix="fer-score-") as scratch:
        last = run.snapshots()[-1]
        entry = _Scorer(run, Path(scratch), lambda stage, done, total: None).validate([last])[last.name]
    return {"accuracy": entry.accuracy, "loss": entry.loss}


class _Scorer:
    def __init__(self, run: Run, scratch: Path, progress: StageProgress):
        self.run = run
        self.scratch = scratch
        self.progress = progress
        self.data_dir = Path(run.record.data.dir)
        self.manifest = verify_data(self.data_dir)
        check_data(run)
        self._hashes: dict[str, str] = {}
        self._images: dict[str, StoredSplit] = {}
        self._engine: Engine | None = None
        self._shapes: Shapes | None = None
        self._answers: dict[tuple[str, str, bool], tuple[np.ndarray, float]] = {}
        self._gpu: int | None = None

    def validate(self, snapshots: Sequence[Snapshot]) -> dict[str, SnapshotScore]:
        """Each snapshot by its name on val, from val_by_snapshot.json where it has them for these weights and data."""
        path = self.run.scores_by_snapshot
        before = _kept(path, ScoresBySnapshot)
        known, fresh = before.snapshots if before else {}, {}
        for number, snapshot in enumerate(snapshots):
            self.progress("scoring snapshots on val", number, len(snapshots))
            made_of = self.run.weights_hash(snapshot), self._database_hash("val")
            entry = known.get(snapshot.name)
            if entry is None or (entry.weights_sha256, entry.database_sha256) != made_of:
                images = self.images("val")
                probs = self._score("val", snapshot, False)[0]
                scores = make_scores("val", images.files, images.labels, probs)
                entry = SnapshotScore(float(scores.correct.mean()), log_loss(scores.labels, scores.probs), *made_of)
            fresh[snapshot.name] = entry
            write_record(path, ScoresBySnapshot({**known, **fresh}), parents=True)
        self.progress("scoring snapshots on val", len(snapshots), len(snapshots))
        return fresh

    def keep(self, split: str, snapshot: Snapshot, ten_crop: bool) -> None:
        """Write the scores file of a split, unless it is there for these very weights and data."""
        path = self.run.scores(split, ten_crop)
        wanted = ScoresMeta(
            split=split,
            iteration=snapshot.iteration,
            weights=str(snapshot.weights.relative_to(self.run.dir)),
            weights_sha256=self.run.weights_hash(snapshot),
            ten_crop=ten_crop,
            engine=self.run.record.engine,
            database_sha256=self._database_hash(split),
            averaged=snapshot.averaged,
        )
        if _is_kept(path, wanted):
            return
        images = self.images(split)
        stage = f"scoring {split}{' (ten crops)' if ten_crop else ''}"
        probs, seconds = self._score(split, snapshot, ten_crop, lambda done, total: self.progress(stage, done, total))
        meta = replace(wanted, database=str(images.database), seconds=round(seconds, 3))
        write_scores(path, meta, files=images.files, labels=images.labels, probs=probs)

    def note_leaks(self) -> None:
        """Write which held-out images also lie in Training, unless it is there for these very databases."""
        path = self.run.in_training
        databases = {split.folder: self._database_hash(split.folder) for split in Split}
        known = _kept(path, InTraining)
        if known is None or known.database_sha256 != databases:
            self.progress("comparing with Training", 0, 1)
            found = {split: tuple(map(_file, keys)) for split, keys in in_training(self.data_dir).items()}
            write_record(path, InTraining(found["val"], found["test"], databases))
            self.progress("comparing with Training", 1, 1)

    def images(self, split: str) -> StoredSplit:
        """All images of a split, read once."""
        if split not in self._images:
            path = self.data_dir / f"{split}_lmdb"
            with Database(path) as database:
                pixels, labels, keys = database.read_all()
            npy = self.scratch / f"{split}.npy"
            np.save(npy, pixels)
            self._images[split] = StoredSplit(path, npy, labels, [_file(key) for key in keys])
        return self._images[split]

    def _database_hash(self, split: str) -> str:
        """The hash of a split's database, once it is the one the run was trained beside."""
        if split not in self._hashes:
            path = self.data_dir / f"{split}_lmdb" / "data.mdb"
            self._hashes[split] = sha256(path)
            if self.run.record.data.files.get(str(path), self._hashes[split]) != self._hashes[split]:
                raise FerError(
                    f"{path} has changed since {self.run.dir} was trained, so its scores would be of other data\n"
                    "prepare the same data again, or train anew"
                )
        return self._hashes[split]

    def _score(
        self, split: str, snapshot: Snapshot, ten_crop: bool, progress: Callable[[int, int], None] | None = None
    ) -> tuple[np.ndarray, float]:
        """(probabilities, seconds it took) of a split's images, which no snapshot scores twice."""
        key = (split, snapshot.name, ten_crop)
        if key not in self._answers:
            images = self.images(split)
            started = time.monotonic()
            probs = self._predict(images, snapshot, ten_crop, progress)
            self._answers[key] = probs, time.monotonic() - started
        return self._answers[key]

    def _predict(
        self, images: StoredSplit, snapshot: Snapshot, ten_crop: bool, progress: Callable[[int, int], None] | None
    ) -> np.ndarray:
        """float32 [N,K] probabilities, one row an image, checked to be that."""
        engine = self._scoring_engine()
        verify_weights(snapshot.weights, self._net_shapes(engine))
        out = self.scratch / "scores.npz"
        engine.predict(
            self.run.deploy.absolute(),
            snapshot.weights.absolute(),
            images.npy,
            test_transform(read_net(self.run.net)),
            out,
            ten_crop=ten_crop,
            gpu=self._gpu,
            folder=self.run.dir,
            progress=progress,
        )
        with np.load(out, allow_pickle=False) as answer:
            probs: np.ndarray = answer["probs"]
        classes = len(self.manifest.classes)
        if probs.shape != (len(images.labels), classes) or probs.dtype != np.float32:
            raise FerError(
                f"{self.run.deploy} gave scores of shape {probs.shape} for {len(images.labels):,} images "
                f"and {classes} classes; its last layer must be a Softmax over the classes"
            )
        if not np.isfinite(probs).all():
            raise FerError(f"{snapshot.weights} gives nan for some images: no figure made from it would mean anything")
        if np.abs(probs.sum(axis=1) - 1).max() > 1e-3:
            raise FerError(f"{self.run.deploy} gives no probabilities: a row adds up to {probs.sum(axis=1).max():.4g}")
        return probs

    def _scoring_engine(self) -> Engine:
        if self._engine is None:
            self._engine = find_engine(self.run.record.engine, lambda message: self.progress(message, 0, 1))
            self._gpu = self._engine.first_gpu(self.run.record.gpu)
        return self._engine

    def _net_shapes(self, engine: Engine) -> Shapes:
        if self._shapes is None:
            described = engine.describe(self.run.deploy.absolute(), State("TEST"), folder=self.run.dir)
            self._shapes = described["params"]
        return self._shapes


def _file(key: str) -> str:
    """`00012.jpg` of the database's key `00000012_00012.jpg`."""
    return key.partition("_")[2] or key


def _kept(path: Path, kind: type[R]) -> R | None:
    """What was found before; None where it is missing or damaged and so found anew. Raises NewerFormat."""
    try:
        return read_record(path, kind, SCORE_AGAIN)
    except NewerFormat:
        raise
    except FerError:
        return None


def _is_kept(path: Path, wanted: ScoresMeta) -> bool:
    """Whether a scores file is there, whole, and of this. Raises NewerFormat."""
    try:
        found = read_scores(path)[1]
    except NewerFormat:
        raise
    except FerError:
        return False
    return replace(found, database=wanted.database, seconds=wanted.seconds) == wanted
