"""The run directory: the one place that knows its names.

runs/<net>-<solver>[-k]/
  solver.prototxt train_val.prototxt deploy.prototxt   exactly what was trained
  train.log                                            the engine's own log
  mean.binaryproto                                     of a training made elsewhere: its own
  run.json                                             command, seed, versions, hashes, state, verified snapshots
  snapshots/<net>_iter_N.caffemodel, .solverstate      verified; .fer.npz: cursors and generators of an engine of ours
  snapshots/<net>_average_M-N.caffemodel               the mean of the snapshots from M to N, made by fer average
  snapshots/<net>_ema_N.caffemodel                     the exponential average of the weights, of fer train --ema
  snapshots/.unverified/                               what the engine has just written
  scores/                                              val.npz test.npz [*_tencrop.npz] val_by_snapshot.json
  scores/explained.npz                                 what the chosen snapshot looks at, for the report
  scores/in_training.json                              the val and test images that also lie in Training
  report/ export/
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer.errors import FerError
from fer.runs.moved import find_files, moved_record
from fer.runs.record import HashedFile, RunRecord, average_name
from fer.system.escapes import some_names
from fer.system.files import remove_unfinished, write_bytes
from fer.system.hashes import file_hash
from fer.system.locks import lock
from fer.system.records import read_record, rewrite_record

RUN_JSON = "run.json"
SOLVER, NET, DEPLOY = "solver.prototxt", "train_val.prototxt", "deploy.prototxt"
SNAPSHOTS = "snapshots"
UNVERIFIED = f"{SNAPSHOTS}/.unverified"
SCORES, REPORT, EXPORT, LOG = "scores", "report", "export", "train.log"


@dataclass(frozen=True)
class Snapshot:
    """A verified snapshot: the weights after `iteration` iterations and, to go on from there, the solver's state.

    `extra` is what an engine of ours keeps beside the state: data cursors and random generators. Where the weights
    are a mean, `averaged` are the iterations of its snapshots, and there is no state; of an exponential average it is
    the one up to which it was kept.
    """

    iteration: int
    weights: Path
    state: Path | None
    extra: Path | None = None
    averaged: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What --snapshot calls it: "10000", "average_6000-10000", or "ema_10000"."""
        return average_name(self.averaged) if self.averaged else str(self.iteration)

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.weights, self.state, self.extra) if path]


class ExportedModel(FerError):
    """A folder that fer export made, whose run.json is that of the run behind it."""


class Run:
    """A run directory; `record` is its run.json, with the paths of its data as they are now, `scores_dir` its scores'.

    `data` is where its data directory has moved to; else that is looked for at its old place, and then beside the run.
    Raises FerError if `directory` is not a run's, or run.json is damaged.
    """

    def __init__(self, directory: str | Path, data: Path | None = None):
        self.dir = Path(directory)
        self.scores_dir = self.dir / SCORES
        for path in (*(self.dir / name for name in (SNAPSHOTS, UNVERIFIED, SCORES, REPORT, LOG)), *self._unverified()):
            if path.is_symlink() and not path.resolve().is_relative_to(self.dir.resolve()):
                raise FerError(
                    f"{path} is a link that leads out of the run directory: put what it leads to there itself"
                )
        self._data = data
        self._take(self._read())

    def _unverified(self) -> list[Path]:
        """What lies where an engine writes, which follows links."""
        return list((self.dir / UNVERIFIED).iterdir()) if (self.dir / UNVERIFIED).is_dir() else []

    def _take(self, written: RunRecord) -> None:
        self._written = written
        self.moved = find_files(written, self.dir, self._data)
        self.record = moved_record(written, self.moved)

    def _read(self) -> RunRecord:
        path = self.dir / RUN_JSON
        if not path.is_file():
            runs = sorted(str(found.parent) for found in self.dir.glob(f"*/{RUN_JSON}"))
            cure = (
                f"a folder of runs: give {some_names(runs, 3)}"
                if runs
                else "fer train makes run directories, as runs/lenet-s2"
            )
            raise FerError(f"{self.dir} is no run directory: it has no {RUN_JSON}\n{cure}")
        record = read_record(path, RunRecord)
        if record.is_exported:
            raise ExportedModel(
                f"{self.dir} is an exported model, no run directory: its {RUN_JSON} says what it was exported from\n"
                "fer predict --model takes one; where its model.json is gone, fer export makes it again"
            )
        return record

    @property
    def name(self) -> str:
        return self.record.name or self.dir.name

    @property
    def net_name(self) -> str:
        """The stem of its snapshots: <net>_iter_N."""
        return self.record.net

    @property
    def solver(self) -> Path:
        return self.dir / SOLVER

    @property
    def net(self) -> Path:
        return self.dir / NET

    @property
    def deploy(self) -> Path:
        return self.dir / DEPLOY

    @property
    def log(self) -> Path:
        return self.dir / LOG

    @property
    def report_dir(self) -> Path:
        return self.dir / REPORT

    @property
    def unverified_dir(self) -> Path:
        return self.dir / UNVERIFIED

    @property
    def export_dir(self) -> Path:
        return self.dir / EXPORT

    @property
    def engine_solver(self) -> Path:
        """The solver as the engine gets it: the same, but its snapshots go to the unverified folder."""
        return self.unverified_dir / SOLVER

    @property
    def odometer(self) -> Path:  # of the engine's finished iterations, while it trains
        return self.dir.absolute() / UNVERIFIED / "iteration"

    @property
    def scores_by_snapshot(self) -> Path:
        return self.scores_dir / "val_by_snapshot.json"

    @property
    def in_training(self) -> Path:
        return self.scores_dir / "in_training.json"

    @property
    def explained(self) -> Path:
        return self.scores_dir / "explained.npz"

    def scores(self, split_folder: str, ten_crop: bool = False) -> Path:
        """The scores file of "val" or "test"."""
        return self.scores_dir / f"{split_folder}{'_tencrop' if ten_crop else ''}.npz"

    def weights_file(self, iteration: int) -> Path:
        return self.dir / SNAPSHOTS / f"{self.net_name}_iter_{iteration}.caffemodel"

    def state_file(self, iteration: int) -> Path:
        return self.dir / SNAPSHOTS / f"{self.net_name}_iter_{iteration}.solverstate"

    def extra_file(self, iteration: int) -> Path:
        """What an engine of ours writes beside the state; Caffe neither writes nor needs it."""
        return self.dir / SNAPSHOTS / f"{self.net_name}_iter_{iteration}.fer.npz"

    def average_file(self, averaged: Sequence[int]) -> Path:
        return self.dir / SNAPSHOTS / f"{self.net_name}_{average_name(averaged)}.caffemodel"

    def snapshots(self) -> list[Snapshot]:
        """The verified snapshots whose files are there, oldest first."""
        found = []
        for iteration, files in sorted(self.record.snapshots.items()):
            weights, state, extra = map(self._path, (files.weights, files.state, files.extra))
            if weights and weights.is_file():
                state = state if state and state.is_file() else None
                found.append(Snapshot(iteration, weights, state, extra))
        return found

    def averages(self) -> list[Snapshot]:
        """The verified means of snapshots and of weights whose files are there, oldest first."""
        found = []
        for entry in self.record.averages.values():
            weights = self._path(entry.weights)
            if weights and weights.is_file():
                found.append(Snapshot(entry.averaged[-1], weights, None, averaged=entry.averaged))
        return sorted(found, key=lambda average: average.averaged)

    def _path(self, file: HashedFile | None) -> Path | None:
        return self.dir / file.file if file and file.file else None

    def hashed(self, path: Path) -> HashedFile:
        """The entry of run.json for a file of the run."""
        return HashedFile(file_hash(path), str(path.relative_to(self.dir)))

    def log_hash(self) -> str | None:
        """The SHA-256 of the log, for run.json; None where there is none."""
        return file_hash(self.log) if self.log.is_file() else None

    def weights_hash(self, snapshot: Snapshot) -> str:
        """The SHA-256 of its weights in run.json. Raises FerError if the file has another."""
        record = self.record
        entry = record.averages[snapshot.name] if snapshot.averaged else record.snapshots[snapshot.iteration]
        if file_hash(snapshot.weights) != entry.weights.sha256:
            raise FerError(f"{snapshot.weights} changed since it was verified; score another with --snapshot N")
        return entry.weights.sha256

    def update(self, **fields: Any) -> None:
        """Set fields of run.json, atomically. What others have put into the file stays in it."""
        written = replace(self._written, **fields)
        rewrite_record(self.dir / RUN_JSON, written)
        self._take(written)

    def replace_prototxt(self, name: str, data: bytes) -> None:
        """Write one of the prototxts anew. Wherever we are killed, run.json has the hash of what is there."""
        digest = hashlib.sha256(data).hexdigest()
        self.update(next_sha256={name: digest})
        write_bytes(self.dir / name, data)
        self.update(prototxt_sha256={**self.record.prototxt_sha256, name: digest}, next_sha256={})

    def tidy(self) -> None:
        """Remove what killed processes were writing."""
        for folder in (self.dir, self.scores_dir):
            remove_unfinished(folder)

    @contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[int]:
        """Hold the run for one training, its record read again; yields a descriptor that lets a child hold it too.

        Raises FerError when another training still holds it after `patience` seconds.
        """
        descriptor = os.open(self.dir, os.O_RDONLY)
        give_up = time.monotonic() + patience
        try:
            while not lock(descriptor):
                if time.monotonic() >= give_up:
                    raise FerError(
                        f"{self.dir} is being trained by another process; wait for it, or stop it with Ctrl-C there"
                    )
                time.sleep(0.05)
            self._take(self._read())  # who held the lock until now may have written it
            self.tidy()
            yield descriptor
        finally:
            os.close(descriptor)
