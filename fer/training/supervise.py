"""Watches over a training engine from its first line to its end: progress, snapshots, losses, signals, its death."""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer.engines.caffe import ipc
from fer.engines.caffe.augmentation import RUN_SEED
from fer.engines.engine import Engine
from fer.engines.process import Child, EngineError, how_it_ended, last_words
from fer.errors import FerError, Interrupted
from fer.formats.log_assembler import LogAssembler
from fer.formats.log_lines import Event, SnapshottingState
from fer.formats.log_outputs import find_accuracy
from fer.formats.log_records import LogRecord
from fer.runs.run import Run, Snapshot
from fer.runs.snapshots import SnapshotFault, SnapshotKeeper
from fer.system.files import is_full
from fer.system.shell import command
from fer.training import events
from fer.training.early_stopping import EarlyStopping
from fer.training.loss_watch import LossWatch
from fer.training.pace import Pace
from fer.training.signal_relay import STOP_SIGNALS, SignalRelay

TAIL_LINES = 200
# What Caffe checks as it writes a snapshot: a protobuf file, or HDF5's parts.
CAFFE_COULD_NOT_WRITE = ("SerializeToOstream", "Failed to make float dataset", "Error saving weights to")


@dataclass(frozen=True)
class Job:
    """What is to be trained, what progress and snapshots need to know, and what may end it early; `accuracies` are
    the outputs of the first test net's Accuracy layers, with their top_k."""

    argv: Sequence[str]
    max_iter: int
    images_per_iteration: int
    start: int = 0
    early_stopping: EarlyStopping | None = None
    accuracies: Mapping[str, int] = field(default_factory=dict)
    display: int = 0
    test_interval: int = 0


class Supervisor:
    """Runs one job to its end; leaves the run's state, why it ended, seconds and iteration in run.json."""

    def __init__(
        self,
        run: Run,
        engine: Engine,
        keeper: SnapshotKeeper,
        job: Job,
        progress: events.Tell,
        take: Callable[[LogRecord], None] = lambda record: None,
    ):
        """`take` is given each record of the log as it is finished."""
        self.run = run
        self.engine = engine
        self.keeper = keeper
        self.job = job
        self._progress = progress
        self._hand_on = take
        self.assembler = LogAssembler()
        self.losses = LossWatch()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.newest: Snapshot | None = None
        self.failure: str | None = None
        self.enough: int | None = None  # the iteration whose test was the last that early stopping waited for
        self._lr = math.nan
        self._accuracy = ""
        self._relay = SignalRelay(engine)
        self._state_due: int | None = None
        self._started = self._clock = time.monotonic()
        self._last_iteration = job.start
        times = job.display, job.test_interval, run.record.iterations_per_epoch
        self.pace = Pace(run.odometer, self.tell, job.start, job.max_iter, *times)

    def supervise(self, lock: int) -> None:
        """Start the engine, follow it, and raise FerError or Interrupted unless it trained to the end."""
        before = self.run.record.seconds or 0.0
        with self._relay as relay:
            told = {ipc.ODOMETER: str(self.pace.odometer), RUN_SEED: str(max(self.run.record.seed, 0) % 2**32)}
            variables = {**self.engine.train_environment, **told}
            child = Child(self.job.argv, variables, self.run.dir, self.run.log, keep=[lock])
            try:
                for line in child.lines(lambda: relay.deliver(child), self.pace.look):
                    if self.enough is None:
                        self._read(line)
                        if self.enough is not None:
                            child.send(self.engine.stop_signal(signal.SIGTERM))
                    if self.failure:
                        child.kill()
                        break
                code = child.process.wait()
                if not self.failure:
                    self._settle(code)
            finally:
                child.kill()
                self.pace.close()
                # What the engine wrote and we did not take in is of no use, or of a training that was lost.
                self.keeper.remove_leftovers()
                seconds = round(before + time.monotonic() - self._started, 3)
                facts = {"seconds": seconds, "iteration": self._reached(), "log_sha256": self.run.log_hash()}
                self.run.update(state="failed", ended=self.failure, **facts)
            self._conclude(code, relay)

    def tell(self, event: object) -> None:
        """Hand an event on; a display that is gone (a closed terminal, a broken pipe) stops no training."""
        try:
            self._progress(event)
        except OSError:
            self._progress = lambda event: None

    def _reached(self) -> int:
        return max(self._last_iteration, self.newest.iteration if self.newest else 0)

    # ---- the log, line by line

    def _read(self, line: str) -> None:
        self.tail.append(line)
        self.pace.feed(line)
        if "net output #" in line and (self._relay.stopped_by is not None or "Train net" in line):
            return  # shown nowhere; there may be thousands
        if isinstance(message := ipc.parse(line), ipc.Replaying):
            self.tell(events.Setup(f"{ipc.text_of(message)}, to go on exactly where the run was ..."))
        # The state file is whole once Caffe has gone on to say something else.
        self._settle_snapshot()
        for finished in self.assembler.feed(line):
            self._take(finished)

    def _take(self, finished: LogRecord | Event) -> None:
        if isinstance(finished, LogRecord):
            self._hand_on(finished)
        match finished:
            case LogRecord(phase="train"):
                self._show(finished)
            case LogRecord(phase="test", net=0) if finished.outputs:
                self._accuracy = self._accuracy or find_accuracy([finished], self.job.accuracies).name
                self.tell(events.Validation(finished.iteration, finished.outputs, self._accuracy))
                if self.job.early_stopping:
                    self._consider(self.job.early_stopping, finished.iteration, finished.outputs)
            case SnapshottingState(path):
                self._state_due = _iteration_of(path)

    def _settle(self, code: int) -> None:
        """Nothing more will come. Of an engine that died while it wrote a snapshot, its death is what matters."""
        for record in self.assembler.finish():
            self._take(record)
        self._settle_snapshot()
        if code != 0 and code - 128 not in STOP_SIGNALS:
            self.failure = None

    def _show(self, shown: LogRecord) -> None:
        self._lr = self._lr if shown.lr is None else shown.lr
        if shown.loss is None:
            return
        now = time.monotonic()
        rate = (shown.iteration - self._last_iteration) / max(now - self._clock, 1e-9)
        # The first display also timed the setting up.
        known = rate > 0 and self._clock != self._started
        self._clock, self._last_iteration = now, shown.iteration
        self.pace.displayed(shown.iteration)
        self.tell(
            events.Displayed(
                shown.iteration,
                self.job.max_iter,
                shown.loss,
                self._lr,
                rate * self.job.images_per_iteration if known else None,
            )
        )
        if verdict := self.losses.verdict(shown.loss):
            self.failure = (
                f"{verdict} at iteration {shown.iteration:,}: the training was stopped; "
                "lower base_lr, or check the data's scale and the labels"
            )

    def _consider(self, early_stopping: EarlyStopping, iteration: int, outputs: dict[str, float]) -> None:
        early_stopping.take(iteration, outputs)
        for spare in early_stopping.spare(snapshot.iteration for snapshot in self.run.snapshots()):
            self.keeper.drop(spare)
        if early_stopping.over and iteration < self.job.max_iter:
            self.enough = iteration

    def _settle_snapshot(self) -> None:
        if self._state_due is None:
            return
        iteration, self._state_due = self._state_due, None
        try:
            snapshot = self.keeper.adopt(iteration)
        except SnapshotFault as fault:
            full = ": the disk is full" * is_full(self.run.dir)
            self.failure = f"the snapshot of iteration {iteration:,} is of no use{full}: {fault}"
            return
        if snapshot:
            self.newest = snapshot
            self.tell(events.SnapshotSaved(iteration, snapshot.weights))

    # ---- the end

    def _conclude(self, code: int, relay: SignalRelay) -> None:
        log = self.assembler.log()
        if self.failure:
            raise FerError(f"{self.failure}\n{self._what_is_left()}; log: {self.run.log}")
        if self.enough is not None:
            self._finish(self.enough, str(self.job.early_stopping))
            return
        if code == 0 and log.optimization_done and not log.stopped_early:
            self._finish(self.job.max_iter, "max_iter was reached")
            return
        stopped_by = relay.stopped_by or self._stopped_from_outside(code, log.stopped_early)
        if stopped_by is None:
            self.run.update(ended=f"{self._program()} {self._ending(code)}")
            raise EngineError(
                f"{self._program()} {self._ending(code)} after iteration {self._reached():,}\n"
                f"{self._last_words()}\n{self._what_is_left()}; log: {self.run.log}",
                code,
            )
        self.run.update(state="interrupted", ended=f"stopped by {signal.Signals(stopped_by).name}")
        raise Interrupted(self._stopped_text(relay), stopped_by)

    def _last_words(self) -> str:
        words = last_words([*self.tail], self.engine.title)
        if any(check in words for check in CAFFE_COULD_NOT_WRITE):
            return f"{words}: the disk that holds {self.run.dir} is full, or your quota of it"
        return words

    def _finish(self, iteration: int, why: str) -> None:
        if not any(snapshot.iteration == iteration for snapshot in self.run.snapshots()):
            raise FerError(
                f"{self._program()} ended, but its last snapshot (iteration {iteration:,}) is missing\n"
                f"{self._what_is_left()}; log: {self.run.log}"
            )
        self.run.update(state="finished", ended=why, iteration=iteration)

    def _stopped_from_outside(self, code: int, stopped_early: bool) -> int | None:
        """The signal of someone who stopped the engine itself, and let it save."""
        if code - 128 in STOP_SIGNALS:
            return code - 128
        return int(signal.SIGINT) if code == 0 and stopped_early else None

    def _stopped_text(self, relay: SignalRelay) -> str:
        how_to_go_on = f"continue with: {command('fer', 'train', '--resume', self.run.dir)}"
        if self.newest and not relay.killed:
            saved = self.newest
            return f"stopped at iteration {saved.iteration:,}, saved {saved.weights}; {how_to_go_on}"
        if not self.run.snapshots():
            return "stopped before anything was saved"
        left = self._what_is_left()
        return f"stopped at once; {left}; {how_to_go_on}"

    def _what_is_left(self) -> str:
        snapshots = self.run.snapshots()
        return f"newest verified snapshot: {snapshots[-1].weights}" if snapshots else "no snapshot was saved"

    def _ending(self, code: int) -> str:
        return "ended without having finished" if code == 0 else how_it_ended(code)

    def _program(self) -> str:
        return self.engine.title


def _iteration_of(path: str) -> int | None:
    number = Path(path).stem.rpartition("_iter_")[2]
    return int(number) if number.isdecimal() else None
