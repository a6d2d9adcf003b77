"""The engine that a run is scored by: its answers, checked before anything is made of them."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fer.engines.engine import Counter, Engine
from fer.engines.registry import find_engine
from fer.errors import FerError
from fer.evaluation.splits import Reading, StoredSplit
from fer.nets.states import State
from fer.runs.run import Run, Snapshot
from fer.runs.snapshots import Shapes, verify_weights
from fer.system.progress import StageProgress

Take = Callable[[Snapshot, np.ndarray, float], None]
"""Called with a snapshot, its probabilities float32 [N,K], one row an image, and the seconds they took."""


class RunEngine:
    """A run's engine, found and started when it is first needed; `classes` is how many the run tells apart."""

    def __init__(self, run: Run, reading: Reading, classes: int, python_layers: bool, progress: StageProgress):
        self.run = run
        self.reading = reading
        self.classes = classes
        self.python_layers = python_layers
        self.progress = progress

    @cached_property
    def engine(self) -> Engine:
        engine = find_engine(self.run.record.scoring_engine, lambda message: self.progress(message, 0, 1))
        return engine.allowing(self.python_layers)

    @cached_property
    def gpu(self) -> int | None:
        return self.engine.first_gpu(self.run.record.gpu)

    @cached_property
    def _shapes(self) -> Shapes:
        self.reading.check_deploy(self.run.deploy)
        described = self.engine.describe(self.run.deploy.absolute(), State("TEST"), folder=self.run.dir)
        shapes: Shapes = described["params"]
        return shapes

    def verify(self, snapshot: Snapshot) -> None:
        """Raise FerError unless the weights are whole, finite and of the run's net."""
        verify_weights(snapshot.weights, self._shapes)

    def ask(
        self,
        snapshots: Sequence[Snapshot],
        images: StoredSplit,
        folder: Path,
        take: Take,
        *,
        ten_crop: bool = False,
        progress: Counter | None = None,
    ) -> None:
        """Give each verified snapshot's answer to `take` as soon as it is there, all from one process.

        The process works in `folder`. Raises FerError where an answer is no probabilities; what was there before has
        been taken.
        """
        waiting = deque((snapshot, folder / f"scores_{snapshot.name}.npz") for snapshot in snapshots)
        outs = [out.absolute() for _, out in waiting]
        started = time.monotonic()

        def answered(done: int, total: int) -> None:
            nonlocal started
            while len(waiting) > total - done:
                snapshot, out = waiting.popleft()
                seconds = time.monotonic() - started
                take(snapshot, self._read(out, snapshot, len(images.labels)), seconds)
                started = time.monotonic()

        self.engine.predict(
            self.run.deploy.absolute(),
            [snapshot.weights.absolute() for snapshot in snapshots],
            images.npy.absolute(),
            self.reading.layer.transform_param,
            outs,
            ten_crop=ten_crop,
            gpu=self.gpu,
            folder=self.run.dir,
            progress=progress,
            answered=answered,
        )
        answered(len(snapshots), len(snapshots))  # an engine need not tell

    def _read(self, out: Path, snapshot: Snapshot, count: int) -> np.ndarray:
        with np.load(out, allow_pickle=False) as answer:
            probs: np.ndarray = answer["probs"]
        out.unlink()
        if probs.shape != (count, self.classes) or probs.dtype != np.float32:
            raise FerError(
                f"{self.run.deploy} gave scores of shape {probs.shape} for {count:,} images "
                f"and {self.classes} classes; its last layer must be a Softmax over the classes"
            )
        if not np.isfinite(probs).all():
            raise FerError(f"{snapshot.weights} gives nan for some images: no figure made from it would mean anything")
        if np.abs(probs.sum(axis=1) - 1).max() > 1e-3:
            raise FerError(f"{self.run.deploy} gives no probabilities: a row adds up to {probs.sum(axis=1).max():.4g}")
        return probs
