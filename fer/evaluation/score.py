"""Scoring a run exactly: each image once, the snapshot chosen on val, test scored with that one alone.

score_run(Run("runs/lenet-s2"))          # writes runs/lenet-s2/scores/
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.data.dataset import held_out
from fer.data.directory import verify_data
from fer.data.leaks import in_training
from fer.engines.engine import Counter
from fer.errors import FerError, Interrupted
from fer.evaluation.explain import Explainer, is_explained
from fer.evaluation.kept import Again, difference, find_kept, is_kept
from fer.evaluation.run_engine import RunEngine
from fer.evaluation.scores import count_undecided, load_scores, log_loss, make_scores, recalls
from fer.evaluation.splits import StoredSplit, as_images, reading_of
from fer.evaluation.trained_on import check_trained_on
from fer.runs.explained import ExplainedMeta, write_explained
from fer.runs.run import Run, Snapshot
from fer.runs.scores import InTraining, MadeOf, ScoresBySnapshot, ScoresMeta, SnapshotScore, write_scores
from fer.runs.unchanged import check_data, check_run, data_dir
from fer.system.files import beside
from fer.system.hashes import file_hash
from fer.system.progress import StageProgress
from fer.system.records import write_record
from fer.system.shell import command

MARGINS = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 2e-2}
"""By the arithmetic of a run: how near to each other the probabilities of two answers are where a test in it, or one
that sums in another order, may choose the other. Of VGG8's 3,589 on PublicTest bf16 turns 11, and 36 are as near."""


def score_run(
    run: Run,
    *,
    ten_crop: bool = False,
    snapshot: int | str | None = None,
    val_only: bool = False,
    python_layers: bool = False,
    explain: bool = False,
    progress: StageProgress | None = None,
) -> list[str]:
    """Score a run's verified snapshots and their averages on val, choose the best (of equals the earliest), score
    test with it once.

    Val is what the net's TEST data layer reads; test is the data directory's, read in the same way.
    Writes scores/val_by_snapshot.json, and of the chosen one scores/val.npz and test.npz (with `ten_crop` also
    val_tencrop and test_tencrop): files str [N], labels int64 [N], probs float32 [N,K], and meta, a JSON string.
    What was scored already, with the same weights, images, deploy net and transform, is not scored again; returned is a
    line for each reason why something was.
    Also scores/in_training.json: the files of val and test whose pixels lie in the data directory's Training too.

    ten_crop  score the chosen snapshot on the average of ten crops too; the choice is made on the centre crop
    snapshot  take the one of this iteration, or the average of this name, instead of choosing
    val_only  leave test unscored
    python_layers  let real Caffe import the modules of Python layers that are not fer's own
    explain    also make explained.npz of the chosen snapshot, unless it is there: what it looks at in some faces of val

    Raises FerError if there is nothing to score, the data or a snapshot has changed, or a net answers nan.
    """
    check_run(run)
    run.tidy()
    snapshots = [*run.snapshots(), *run.averages()]
    if not snapshots:
        resume = command("fer", "train", "--resume", run.dir)
        raise FerError(f"{run.dir} has no verified snapshot to score; train it further: {resume}")
    if snapshot is not None and all(known.name != str(snapshot) for known in snapshots):
        raise FerError(f"{run.dir} has no snapshot {snapshot}; it has {', '.join(known.name for known in snapshots)}")
    with _scoring(run, python_layers, progress) as scorer:
        wanted = [known for known in snapshots if snapshot is None or known.name == str(snapshot)]
        by_snapshot = scorer.validate(wanted)
        chosen = max(wanted, key=lambda known: (by_snapshot[known.name].accuracy, -known.iteration))
        for split in held_out(val_only):
            for crops in sorted({False, ten_crop}):
                scorer.keep(split, chosen, crops)
        scorer.note_leaks()
        if explain:
            scorer.explain(chosen)
        return scorer.again.lines()


def score_end(run: Run, *, python_layers: bool = False) -> dict[str, float]:
    """{"accuracy", "loss"} on val of a run's last snapshot, kept in val_by_snapshot.json.

    Raises FerError as `score_run` does.
    """
    with _scoring(run, python_layers) as scorer:
        last = run.snapshots()[-1]
        entry = scorer.validate([last])[last.name]
    return {"accuracy": entry.accuracy, "loss": entry.loss}


@contextmanager
def _scoring(run: Run, python_layers: bool, progress: StageProgress | None = None) -> Iterator["_Scorer"]:
    with ExitStack() as stack:
        yield _Scorer(run, stack, python_layers, progress or (lambda stage, done, total: None))


class _Scorer:
    def __init__(self, run: Run, stack: ExitStack, python_layers: bool, progress: StageProgress):
        self.run = run
        self.progress = progress
        self.again = Again()
        self.data_dir = data_dir(run)
        self.manifest = verify_data(self.data_dir)
        check_data(run)
        check_trained_on(run, self.manifest)
        self.reading = reading_of(run)
        self._stack = stack
        self._scratch: Path | None = None
        self._images: dict[str, StoredSplit] = {}
        classes = len(self.manifest.classes)
        self._engine = RunEngine(run, self.reading, classes, python_layers, progress)
        self._answers: dict[tuple[str, str, bool], tuple[np.ndarray, float]] = {}

    def validate(self, snapshots: Sequence[Snapshot]) -> dict[str, SnapshotScore]:
        """Each snapshot by its name on val, from val_by_snapshot.json where it has them, made of the same."""
        path, stage = self.run.scores_by_snapshot, "scoring snapshots on val"
        before, damage = find_kept(path, ScoresBySnapshot)
        known = before.snapshots if before else {}
        self.progress(stage, 0, len(snapshots))
        due, fault = self._due(snapshots, known, damage)
        waiting = len(snapshots) if fault else len(due)
        self.progress(stage, len(snapshots) - waiting, len(snapshots))

        def take(snapshot: Snapshot, probs: np.ndarray, seconds: float) -> None:
            nonlocal waiting
            self._answers["val", snapshot.name, False] = probs, seconds
            known[snapshot.name] = self._entry(probs, due[snapshot])
            write_record(path, ScoresBySnapshot(known), parents=True)
            waiting -= 1
            self.progress(stage, len(snapshots) - waiting, len(snapshots))

        if due:
            self._engine.ask(list(due), self.images("val"), self.scratch, take)
        if fault:
            raise fault
        return {snapshot.name: known[snapshot.name] for snapshot in snapshots}

    def _due(
        self, snapshots: Sequence[Snapshot], known: Mapping[str, SnapshotScore], damage: str | None
    ) -> tuple[dict[Snapshot, MadeOf], FerError | None]:
        """The verified snapshots that are to be scored, up to the first that must not be, and its fault."""
        due: dict[Snapshot, MadeOf] = {}
        for snapshot in snapshots:
            try:
                made_of = self._made_of("val", snapshot)
                entry = known.get(snapshot.name)
                reason = difference(entry, made_of) if entry else damage
                if entry is None or reason:
                    self._engine.verify(snapshot)
                    self.again.note(f"snapshot {snapshot.name}", reason)
                    due[snapshot] = made_of
            except Interrupted:
                raise
            except FerError as error:  # to be raised when those before it are scored and kept
                return due, error
        return due, None

    def _entry(self, probs: np.ndarray, made_of: MadeOf) -> SnapshotScore:
        images = self.images("val")
        scores = make_scores("val", images.files, images.labels, probs)
        accuracy, loss = float(scores.correct.mean()), log_loss(scores.labels, scores.probs)
        undecided = count_undecided(scores, self._margin)
        return SnapshotScore(accuracy, loss, **made_of, undecided=undecided, recalls=recalls(scores))

    @property
    def _margin(self) -> float:
        """Of the coarsest arithmetic that the run was trained and tested in."""
        record = self.run.record
        used = {record.precision, *(change.before.precision for change in record.changes)}
        return max(MARGINS.get(precision, MARGINS["bf16"]) for precision in used)

    def keep(self, split: str, snapshot: Snapshot, ten_crop: bool) -> None:
        """Write the scores file of a split, unless it is there, made of the same."""
        path, source = self.run.scores(split, ten_crop), self.reading.sources[split]
        wanted = ScoresMeta(
            split=split,
            iteration=snapshot.iteration,
            weights=str(snapshot.weights.relative_to(self.run.dir)),
            ten_crop=ten_crop,
            engine=self.run.record.scoring_engine,
            averaged=snapshot.averaged,
            **self._made_of(split, snapshot),
        )
        kept, reason = is_kept(path, wanted)
        if kept:
            return
        self.again.note(path.name, reason)
        images = self.images(split)
        stage = f"scoring {split}{' (ten crops)' if ten_crop else ''}"
        probs, seconds = self._answer(split, snapshot, ten_crop, lambda done, total: self.progress(stage, done, total))
        meta = replace(wanted, database=str(source.path), own=source.own, shape=source.shape, seconds=round(seconds, 3))
        write_scores(path, meta, files=images.files, labels=images.labels, probs=probs)

    def explain(self, snapshot: Snapshot) -> None:
        """Write explained.npz, unless it is there, made of the same."""
        made_of, classes = self._made_of("val", snapshot), len(self.manifest.classes)
        meta = ExplainedMeta(**made_of, net_sha256=file_hash(self.run.net), classes=classes)
        if is_explained(self.run.explained, meta):
            return
        self.progress("what the net looks at", 0, 1)
        images = np.load(self.images("val").npy, mmap_mode="r")
        transform = self.reading.layer.transform_param
        explainer = Explainer(
            self.run, snapshot, self._engine.engine, self._engine.gpu, transform, self.scratch.absolute()
        )
        write_explained(self.run.explained, explainer.explain(load_scores(self.run.scores("val")), images, meta))
        self.progress("what the net looks at", 1, 1)

    def note_leaks(self) -> None:
        """Write which held-out images of the data directory also lie in Training, unless it is there for these data."""
        path = self.run.in_training
        sources = self.reading.sources.items()
        databases = {split: source.sha256 for split, source in sources if not source.own}
        databases["train"] = file_hash(self.data_dir / "train_lmdb" / "data.mdb")
        known, damage = find_kept(path, InTraining)
        if known is None or known.database_sha256 != databases:
            self.again.note(path.name, damage)
            self.progress("comparing with Training", 0, 1)
            found = {split: tuple(map(_file, keys)) for split, keys in in_training(self.data_dir).items()}
            write_record(path, InTraining(found["val"], found["test"], databases), parents=True)
            self.progress("comparing with Training", 1, 1)

    def images(self, split: str) -> StoredSplit:
        """All images of a split, read once."""
        if split not in self._images:
            source = self.reading.sources[split]
            pixels, labels = source.read()
            npy = self.scratch / f"{split}.npy"
            images = as_images(pixels)
            stored = np.lib.format.open_memmap(npy, "w+", np.uint8, images.shape)
            stored[:] = images
            stored.flush()
            self._images[split] = StoredSplit(npy, labels.astype(np.int64), source.names())
        return self._images[split]

    @property
    def scratch(self) -> Path:
        """A folder in the run directory that goes with us; one that a killed process has left goes too."""
        if self._scratch is None:
            busy = f"{self.run.dir} is being scored by another process; wait for it"
            self._scratch = self._stack.enter_context(beside(self.run.scores_dir, busy))
        return self._scratch

    def _made_of(self, split: str, snapshot: Snapshot) -> MadeOf:
        return {
            "weights_sha256": self.run.weights_hash(snapshot),
            "database_sha256": self.reading.sources[split].sha256,
            "deploy_sha256": file_hash(self.run.deploy),
            "transform_sha256": self.reading.transform_sha256,
        }

    def _answer(self, split: str, snapshot: Snapshot, ten_crop: bool, progress: Counter) -> tuple[np.ndarray, float]:
        """(probabilities, seconds it took) of a split's images, which no snapshot scores twice."""
        key = (split, snapshot.name, ten_crop)

        def take(_: Snapshot, probs: np.ndarray, seconds: float) -> None:
            self._answers[key] = probs, seconds

        if key not in self._answers:
            self._engine.verify(snapshot)
            self._engine.ask([snapshot], self.images(split), self.scratch, take, ten_crop=ten_crop, progress=progress)
        return self._answers[key]


def _file(key: str) -> str:
    """`00012.jpg` of the database's key `00000012_00012.jpg`."""
    return key.partition("_")[2] or key
