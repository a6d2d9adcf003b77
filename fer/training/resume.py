"""Going on with a run from its newest verified snapshot.

run = resume(Path("runs/lenet-s2"), ResumeOptions(max_iter=20_000))
"""

from dataclasses import asdict
from pathlib import Path

from fer.engines.engine import NO_GPU, Engine
from fer.engines.registry import AUTO, CHOSEN
from fer.errors import FerError
from fer.evaluation.event_file import check_tensorboard
from fer.formats.database import Database
from fer.formats.log import parse_log
from fer.formats.log_records import Log
from fer.formats.prototxt import to_text
from fer.runs.record import UNKNOWN, EngineChange, EngineSettings
from fer.runs.run import SOLVER, Run, Snapshot
from fer.runs.snapshots import SnapshotKeeper
from fer.runs.unchanged import check_data, check_run, data_dir
from fer.schema import caffe_pb2
from fer.system.hardware import hardware
from fer.system.plural import counted
from fer.system.shell import command
from fer.training.early_stopping import EarlyStopping, find_early_stopping
from fer.training.engine import EngineChoice, describe, warn_of_order
from fer.training.events import Notice, Tell, silent
from fer.training.first_record import gpu_field
from fer.training.options import ResumeOptions
from fer.training.overrides import ENDS, Overrides
from fer.training.prototxts import Prototxts, read_prototxts
from fer.training.run_prototxts import settle_paths
from fer.training.session import Session
from fer.training.warnings import training_warnings

# The engine of a killed `fer train` finishes its iteration and saves before it lets go of the run.
LETS_GO_SECONDS = 10.0


def resume(run_dir: Path, options: ResumeOptions | None = None, progress: Tell | None = None) -> Run:
    """Go on with a run from its newest verified snapshot. Returns the finished run.

    `progress` is called with the events of `fer.training.events`. Raises FerError when the run is finished, in use, or
    when its prototxts or data have changed.
    """
    options, tell = options or ResumeOptions(), progress or silent
    if options.tensorboard:
        check_tensorboard(options.tensorboard)
    run = Run(run_dir, options.data)
    with run.locked(LETS_GO_SECONDS) as lock:
        _check_begun(run)
        _check_state(run)
        check_run(run)
        data_dir(run)
        check_data(run)
        settle_paths(run)
        prototxts = read_prototxts(run.solver, run.net)
        solver, net = prototxts.solver, prototxts.net
        if solver is None or net is None:
            raise FerError("\n".join(prototxts.faults))
        engine, gpus = _engine_to_go_on(run, prototxts, options, tell)
        shapes = describe(engine, run, solver, run.net)
        keeper = SnapshotKeeper(run, shapes, solver.type)
        keeper.adopt_leftovers(lambda text: tell(Notice(text)))
        snapshot = keeper.newest_intact(lambda text: tell(Notice(text)))
        wanted = Overrides(options.max_iter, options.epochs)
        max_iter = wanted.end(run.record.batch_size, run.record.data.train_count) or options.max_iter
        _check_end(run, snapshot, max_iter)
        patience = run.record.patience if options.patience is None else options.patience
        early_stopping = _early_stopping(run, solver, net, patience, snapshot.iteration)
        _check_epoch_boundary(run, engine, snapshot, options.approximate, tell)
        warn_of_order(engine, solver, tell)
        _note_changes(run, engine, gpus, snapshot.iteration, solver)
        if max_iter is not None:
            _extend(run, solver, max_iter, tell)
            run.update(given={name: n for name, n in run.record.given.items() if name not in ENDS} | wanted.given)
        _warn_anew(run, solver, net, tell)
        run.update(
            state="training",
            ended=None,
            log_sha256=None,
            max_iter=solver.max_iter,
            iteration=snapshot.iteration,
            patience=early_stopping.limit if early_stopping else None,
        )
        session = Session(run, lock, engine, gpus, solver, shapes, early_stopping, tell, options.tensorboard)
        state = run.state_file(snapshot.iteration).relative_to(run.dir)
        session.train(start=snapshot.iteration, snapshot=state)
        session.measure_end()
    return run


def _check_begun(run: Run) -> None:
    missing = [path for path in (run.solver, run.net) if not path.is_file()]
    if missing and not run.record.prototxt_sha256:
        raise FerError(
            f"{missing[0]} is missing: the run was cut short in the making, and nothing was trained\n"
            f"begin again: {command('fer', 'train', '--net', 'NET', '--solver', 'SOLVER', '--name', run.dir.name)}"
        )


def _check_state(run: Run) -> None:
    """Refuse a training made elsewhere without what it would go on from."""
    if run.record.imported and not any(snapshot.state for snapshot in run.snapshots()):
        weights = run.snapshots()[-1].weights if run.snapshots() else "WEIGHTS"
        anew = command("fer", "train", "--net", run.net, "--solver", "SOLVER", "--weights", weights)
        raise FerError(
            f"{run.dir} was imported without a .solverstate and its solver, so there is nothing to go on from\n"
            f"import it with them, or begin a training at its weights: {anew}"
        )


def _engine_to_go_on(
    run: Run, prototxts: Prototxts, options: ResumeOptions, tell: Tell
) -> tuple[Engine, tuple[int, ...]]:
    """The run's own engine on its own GPUs, or those asked for instead, of which there must be as many.

    For a run of the first engine that "auto" tries it is the same as at its start, as what is found may be another now.
    """
    name, gpu = options.engine, run.record.gpu if options.gpu is None else options.gpu
    gpu = None if gpu == NO_GPU else gpu
    if name == AUTO and run.record.engine not in (CHOSEN[0], UNKNOWN):
        name = run.record.engine
    precision = options.precision or ("fp32" if run.record.precision == UNKNOWN else run.record.precision)
    ema = run.record.ema
    choice = EngineChoice(prototxts, name, gpu=gpu, precision=precision, shuffle=None, ema=ema, tell=tell)
    choice.check()
    engine = choice.engine.allowing(options.python_layers)
    gpus = engine.check_gpus(gpu) if gpu is not None else ()
    before = str(run.record.gpu).count(",") + 1
    if max(len(gpus), 1) != before:
        raise FerError(
            f"{run.dir} was trained with {before} times its net's batch_size an iteration; "
            f"with --gpu {gpu} it would be {len(gpus)} times: take as many GPUs as before"
        )
    return engine, gpus


def _note_changes(
    run: Run, engine: Engine, gpus: tuple[int, ...], iteration: int, solver: caffe_pb2.SolverParameter
) -> None:
    """Write into run.json that another engine, GPU or precision goes on; the run's solver gets the mode that is."""
    new = EngineSettings(engine.name, gpu_field(gpus), engine.precision)
    old = run.record.settings
    if new == old:
        return
    mode = caffe_pb2.SolverParameter.GPU if gpus else caffe_pb2.SolverParameter.CPU
    solver.solver_mode = mode
    solver.ClearField("device_id")
    if gpus:
        solver.device_id = gpus[0]
    run.replace_prototxt(SOLVER, to_text(solver).encode())
    run.update(
        **asdict(new),
        changes=(*run.record.changes, EngineChange(iteration, old, new)),
        hardware=hardware(gpus),
        repeatable=f"no: from iteration {iteration:,} on it was trained with another engine, GPU or precision; "
        "another engine rounds otherwise and draws other random numbers",
    )


def _check_end(run: Run, snapshot: Snapshot, max_iter: int | None) -> None:
    """Refuse to go on to an end that is already reached."""
    reached = snapshot.iteration
    if max_iter is not None and max_iter <= reached:
        raise FerError(f"{run.dir} has {counted(reached, 'iteration')} already; take a larger --max-iter or --epochs")
    if max_iter is None and run.record.state == "finished" and reached >= run.record.max_iter:
        report = command("fer", "report", run.dir)
        raise FerError(
            f"{run.dir} is finished ({counted(reached, 'iteration')})\n"
            f"train it further with --max-iter N, N larger than {reached}; see it with {report}"
        )


def _early_stopping(
    run: Run, solver: caffe_pb2.SolverParameter, net: caffe_pb2.NetParameter, patience: int | None, reached: int
) -> EarlyStopping | None:
    """The early stopping to go on with, which remembers the tests that the log shows up to the snapshot."""
    if not patience:
        return None
    log = parse_log(run.log) if run.log.is_file() else Log()
    tests = [record for record in log.curve("test") if record.iteration <= reached]
    found = find_early_stopping(patience, solver, net, run.record.data, tests)
    if found.over:
        raise FerError(
            f"{run.dir}: {found}\ngo on with --patience N, N larger than {found.since}, or without it with --patience 0"
        )
    return found


def _extend(run: Run, solver: caffe_pb2.SolverParameter, max_iter: int, tell: Tell) -> None:
    """Set a new end, in the run's solver too."""
    if solver.lr_policy == "poly" and max_iter != solver.max_iter:
        tell(Notice("lr_policy 'poly' depends on max_iter: the learning rate jumps where the run goes on"))
    solver.max_iter = max_iter
    run.replace_prototxt(SOLVER, to_text(solver).encode())


def _warn_anew(run: Run, solver: caffe_pb2.SolverParameter, net: caffe_pb2.NetParameter, tell: Tell) -> None:
    """The warnings of the training as it goes on now, in run.json in the old ones' place; the new ones are told."""

    def count(source: str) -> int:
        with Database(Path(source)) as database:
            return len(database)

    found = training_warnings(solver, net, count)
    for warning in found:
        if warning not in run.record.warnings:
            tell(Notice(warning))
    run.update(warnings=tuple(found))


def _check_epoch_boundary(run: Run, engine: Engine, snapshot: Snapshot, approximate: bool, tell: Tell) -> None:
    """A caffe executable begins at the data's start again, which is right only where an epoch ends."""
    if engine.resumes_exactly:
        return
    seen = snapshot.iteration * run.record.batch_size
    count = run.record.data.train_count
    if seen % count == 0:
        return
    where = f"iteration {snapshot.iteration:,} lies {seen % count:,} images into an epoch of {count:,}"
    if not approximate:
        raise FerError(
            f"{where}, and {engine.title} cannot go on there: it begins at the data's start again\n"
            "unset FER_CAFFE to go on exactly, or accept the difference with --approximate-resume"
        )
    note = f"resumed at iteration {snapshot.iteration:,} with the data from its start ({where})"
    tell(Notice(note))
    run.update(
        notes=(*run.record.notes, note),
        repeatable=f"no: {note}; an uninterrupted run would give other numbers",
    )
