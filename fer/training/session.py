"""A run and the engine that is about to train it: from the engine's copy of the solver to the last score."""

from dataclasses import dataclass
from pathlib import Path

from fer.engines.engine import Engine
from fer.errors import FerError, Interrupted
from fer.evaluation.score import score_end
from fer.formats.prototxt import read_net, write_text
from fer.nets.accuracy import accuracy_outputs
from fer.runs.run import Run
from fer.runs.snapshots import Shapes, SnapshotKeeper
from fer.schema import caffe_pb2
from fer.training.early_stopping import EarlyStopping
from fer.training.events import Estimate, Notice, Tell, Validation
from fer.training.follow import following
from fer.training.pace import quicker_engine
from fer.training.run_prototxts import name_net
from fer.training.supervise import Job, Supervisor


@dataclass(frozen=True)
class Session:
    """What trains, what it trains, and who is told; `lock` is the descriptor of the run's lock, which it inherits, and
    `tensorboard` the folder of event files."""

    run: Run
    lock: int
    engine: Engine
    gpus: tuple[int, ...]
    solver: caffe_pb2.SolverParameter
    shapes: Shapes
    early_stopping: EarlyStopping | None
    tell: Tell
    tensorboard: Path | None = None

    def train(self, *, start: int = 0, weights: Path | None = None, snapshot: Path | None = None) -> None:
        """Train to the end, from the iteration `start`. Raises FerError, or Interrupted with the work saved."""
        run = self.run
        _write_engine_solver(run, self.solver, self.early_stopping)
        engine_solver = run.engine_solver.relative_to(run.dir)
        ema = run.record.ema
        argv = self.engine.train_command(engine_solver, gpus=self.gpus, weights=weights, snapshot=snapshot, ema=ema)
        keeper = SnapshotKeeper(run, self.shapes, self.solver.type)
        accuracies = accuracy_outputs(read_net(run.net), self.solver)
        job = Job(
            argv, self.solver.max_iter, run.record.batch_size, start, self.early_stopping, accuracies,
            self.solver.display, self.solver.test_interval,
        )  # fmt: skip
        with following(self.tensorboard, run, start, self.tell) as take:
            Supervisor(run, self.engine, keeper, job, self._tell, take).supervise(self.lock)

    def _tell(self, event: object) -> None:
        """Hand an event on, and after an estimate of hours what would be quicker."""
        self.tell(event)
        if isinstance(event, Estimate) and (
            hint := quicker_engine(self.engine, on_gpu=bool(self.gpus), seconds=event.seconds)
        ):
            self.tell(hint)

    def measure_end(self) -> None:
        """Score the last snapshot on val where no test falls on the end.

        An engine tests there only if test_interval divides it. A net that cannot be scored is trained all the same.
        """
        end = self.run.record.iteration
        if not self.solver.test_iter or end % self.solver.test_interval == 0:
            return
        try:
            self.tell(Validation(end, score_end(self.run, python_layers=self.engine.python_layers), "accuracy"))
        except Interrupted:
            raise
        except FerError as error:
            self.tell(Notice(f"accuracy on val at the end could not be measured: {error}"))


def _write_engine_solver(run: Run, solver: caffe_pb2.SolverParameter, early_stopping: EarlyStopping | None) -> None:
    """The engine's copy: what it writes is not trusted yet, so it goes to a folder of its own.

    With early stopping every test has a snapshot, taken just before it.
    """
    copy = caffe_pb2.SolverParameter()
    copy.CopyFrom(solver)
    name_net(copy)
    copy.snapshot_prefix = str(run.unverified_dir.relative_to(run.dir) / run.net_name)
    copy.snapshot_after_train = True
    if early_stopping:
        copy.snapshot = early_stopping.interval
    run.unverified_dir.mkdir(parents=True, exist_ok=True)
    write_text(run.engine_solver, copy)
