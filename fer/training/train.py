"""Training a net in a run directory, and going on with one.

run = train("lenet", "s2", Path("data/fer2013"))
run = resume(Path("runs/lenet-s2"), max_iter=20_000)
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fer.engines.engine import Engine
from fer.engines.registry import AUTO, CHOSEN
from fer.errors import FerError, Interrupted, UsageError
from fer.evaluation.score import score_end
from fer.formats.database import Database
from fer.formats.log import parse_log
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.nets.zoo import file_name, find_net, find_solver, net_label, run_label
from fer.runs.record import EngineChange, EngineSettings, StartWeights
from fer.runs.run import Run, Snapshot, create_run
from fer.runs.snapshots import Shapes, SnapshotKeeper, check_start_weights
from fer.schema import caffe_pb2
from fer.system.files import sha256
from fer.system.hardware import hardware
from fer.system.shell import command
from fer.training import events
from fer.training.early_stopping import Patience, find_patience
from fer.training.engine import EngineChoice, describe, warn_of_order
from fer.training.events import Iteration, Setup, SnapshotSaved, Validation, Warning
from fer.training.first_record import first_record, gpu_field
from fer.training.preflight import Plan, preflight
from fer.training.supervise import Job, Supervisor
from fer.training.warnings import training_warnings

__all__ = ["Iteration", "Setup", "SnapshotSaved", "Validation", "Warning", "resume", "train"]

# The engine of a killed `fer train` finishes its iteration and saves before it lets go of the run.
LETS_GO_SECONDS = 10.0


def train(
    net: str | Path,
    solver: str | Path,
    data_dir: Path,
    *,
    name: str | None = None,
    max_iter: int | None = None,
    seed: int | None = None,
    gpu: int | str | None = None,
    precision: str = "fp32",
    shuffle: bool = False,
    weights: Path | None = None,
    patience: int | None = None,
    engine: str = "auto",
    runs_dir: Path = Path("runs"),
    progress: events.Progress | None = None,
) -> Run:
    """Train in a new directory of `runs_dir`, to the end; gives the finished run.

    net, solver  names of shipped ones, or prototxt files
    gpu          0, "0,1" or "all": of several each takes the net's batch, and their gradients are averaged
    precision    fp32, tf32, bf16, or auto: bf16 where the hardware calculates in it, else fp32
    shuffle      read the LMDB of the training in a new order each epoch, as a solver's train_state can ask for too
    weights      a .caffemodel to start from
    patience     end once so many tests in a row have not beaten the best accuracy on val, whose snapshot is kept
    engine       caffe, pytorch, or auto: Caffe, but PyTorch for what the Caffe found cannot do
    progress     is called with the events of `fer.training.events`
    Raises FerError when anything is wrong (before the engine starts, no run directory is left), Interrupted when a
    signal stopped it, with the work saved.
    """
    tell = progress or _silent
    train_val = find_net(net)
    solver_path = find_solver(net, solver)
    base_name = _check_name(name, runs_dir) if name else run_label(train_val, solver_path)
    net_name = net_label(train_val)
    choice = EngineChoice(engine, solver_path, train_val, gpu=gpu, precision=precision, shuffle=shuffle, tell=tell)
    chosen = choice.engine
    gpus = chosen.check_gpus(gpu) if gpu is not None else ()
    if weights is not None and not weights.is_file():
        raise FerError(f"--weights {weights}: no such file")
    plan = preflight(
        solver_path,
        train_val,
        data_dir,
        known_types=choice.known_types(),
        max_iter=max_iter,
        seed=seed,
        gpu=gpus[0] if gpus else None,
        shuffle=shuffle,
        snapshot_prefix=f"snapshots/{net_name}",
        run_parent=runs_dir,
    )
    choice.check()
    for warning in plan.warnings:
        tell(Warning(warning))
    warn_of_order(chosen, plan.solver, tell)
    record = first_record(plan, net_name, solver_path, data_dir, chosen, gpus)
    waits = find_patience(patience, plan.solver, plan.net, record.data) if patience else None
    record = replace(record, patience=patience or None)
    run = create_run(runs_dir, base_name, record, exact=bool(name))
    with run.locked() as lock:
        with _removed_on_failure(run):
            _write_prototxts(run, plan, waits)
            shapes = describe(chosen, run, plan.solver, train_val)
            if weights is not None:
                _take_weights(run, weights, shapes, tell)
        argv = chosen.train_command(
            run.engine_solver.relative_to(run.dir), gpus=gpus, weights=weights.absolute() if weights else None
        )
        try:
            _supervise(run, chosen, plan.solver, shapes, argv, tell, lock, waits)
        finally:
            # Stopped before anything worth keeping was there: as if it had never begun.
            if not run.snapshots() and run.record.state == "interrupted":
                shutil.rmtree(run.dir)
        _measure_end(run, plan.solver, tell)
    return run


def resume(
    run_dir: Path,
    *,
    max_iter: int | None = None,
    patience: int | None = None,
    gpu: int | str | None = None,
    precision: str | None = None,
    engine: str = "auto",
    progress: events.Progress | None = None,
    approximate: bool = False,
) -> Run:
    """Go on with a run from its newest verified snapshot; gives the finished run.

    max_iter     train further than the run's solver says
    patience     another one than the run's own (None); 0: none
    gpu, precision, engine
                 other ones than the run's own (None, "auto"): snapshots are the same for every engine
    approximate  let a user's own `caffe` (FER_CAFFE) go on in mid-epoch, where it begins at the data's start again
    Raises FerError when the run is finished, in use, or when its prototxts or data have changed.
    """
    tell = progress or _silent
    run = Run(run_dir)
    with run.locked(LETS_GO_SECONDS) as lock:
        _check_unchanged(run)
        solver = read_solver(run.solver)
        chosen, gpus = _engine_to_go_on(run, engine, gpu, precision, tell)
        shapes = describe(chosen, run, solver, run.net)
        keeper = SnapshotKeeper(run, shapes, solver.type)
        keeper.adopt_leftovers(lambda text: tell(Warning(text)))
        snapshot = keeper.newest_intact(lambda text: tell(Warning(text)))
        _check_end(run, snapshot, max_iter)
        waits = _patience(run, solver, run.record.patience if patience is None else patience, snapshot.iteration)
        _check_epoch_boundary(run, chosen, snapshot, approximate, tell)
        warn_of_order(chosen, solver, tell)
        _note_changes(run, chosen, gpus, snapshot.iteration, solver)
        if max_iter is not None:
            _extend(run, solver, max_iter, tell)
        _warn_anew(run, solver, tell)
        _write_engine_solver(run, solver, waits)
        argv = chosen.train_command(
            run.engine_solver.relative_to(run.dir),
            gpus=gpus,
            snapshot=run.state_file(snapshot.iteration).relative_to(run.dir),
        )
        run.update(
            state="training",
            ended=None,
            max_iter=solver.max_iter,
            iteration=snapshot.iteration,
            patience=waits.limit if waits else None,
        )
        _supervise(run, chosen, solver, shapes, argv, tell, lock, waits, start=snapshot.iteration)
        _measure_end(run, solver, tell)
    return run


def _silent(_event: object) -> None:
    pass


def _supervise(
    run: Run,
    engine: Engine,
    solver: caffe_pb2.SolverParameter,
    shapes: Shapes,
    argv: list[str],
    tell: events.Progress,
    lock: int,
    waits: Patience | None,
    start: int = 0,
) -> None:
    keeper = SnapshotKeeper(run, shapes, solver.type)
    job = Job(argv, solver.max_iter, run.record.batch_size, start, waits)
    Supervisor(run, engine, keeper, job, tell).supervise(lock)


def _measure_end(run: Run, solver: caffe_pb2.SolverParameter, tell: events.Progress) -> None:
    """Score the last snapshot on val where no test falls on the end: an engine tests there only if test_interval
    divides it. A net that cannot be scored is trained all the same."""
    end = run.record.iteration
    if not solver.test_iter or end % solver.test_interval == 0:
        return
    try:
        tell(Validation(end, score_end(run)))
    except Interrupted:
        raise
    except FerError as error:
        tell(Warning(f"accuracy on val at the end could not be measured: {error}"))


# ---- a new run


def _check_name(name: str, runs_dir: Path) -> str:
    if name != file_name(name):
        raise UsageError(f"--name {name!r} is no plain name: take letters, digits and . _ + -")
    if (runs_dir / name).exists():
        there = runs_dir / name
        raise FerError(f"{there} exists already; take another --name, or {command('--resume', there)}")
    return name


@contextlib.contextmanager
def _removed_on_failure(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(run.dir)
        raise


def _write_prototxts(run: Run, plan: Plan, waits: Patience | None) -> None:
    write_text(run.solver, plan.solver)
    write_text(run.net, plan.net)
    write_text(run.deploy, plan.deploy)
    _write_engine_solver(run, plan.solver, waits)
    run.update(prototxt_sha256={path.name: sha256(path) for path in (run.solver, run.net, run.deploy)})


def _write_engine_solver(run: Run, solver: caffe_pb2.SolverParameter, waits: Patience | None) -> None:
    """The engine's copy: what it writes is not trusted yet, so it goes to a folder of its own.

    With patience every test has a snapshot, taken just before it.
    """
    copy = caffe_pb2.SolverParameter()
    copy.CopyFrom(solver)
    copy.snapshot_prefix = str(run.unverified_dir.relative_to(run.dir) / run.net_name)
    copy.snapshot_after_train = True
    if waits:
        copy.snapshot = waits.interval
    run.unverified_dir.mkdir(parents=True, exist_ok=True)
    write_text(run.engine_solver, copy)


def _take_weights(run: Run, weights: Path, shapes: Mapping[str, Any], tell: events.Progress) -> None:
    fresh = check_start_weights(weights, shapes)
    if fresh:
        tell(Warning(f"{weights} has no layer {', '.join(fresh)}: learnt from scratch"))
    run.update(weights=StartWeights(str(weights.absolute()), sha256(weights)))


# ---- an old run


def _check_unchanged(run: Run) -> None:
    """Refuse prototxts and data that are not those the run began with."""
    for name, known in run.record.prototxt_sha256.items():
        if sha256(run.dir / name) != known:
            raise FerError(
                f"{run.dir / name} has changed since the run began, so going on would mix two trainings\n"
                "put it back, or start a new run with fer train --net ... --weights (a snapshot of this one)"
            )
    for name, known in run.record.data.files.items():
        if sha256(Path(name)) != known:
            raise FerError(
                f"{name} has changed since the run began, so going on would mix two trainings\n"
                "prepare the same data again, or start a new run"
            )


def _engine_to_go_on(
    run: Run, name: str, gpu: int | str | None, precision: str | None, tell: events.Progress
) -> tuple[Engine, tuple[int, ...]]:
    """The run's own engine on its own GPUs, or those asked for instead, of which there must be as many.

    For a run of the first engine that "auto" tries it is the same as at its start, as what is found may be another now.
    """
    gpu = run.record.gpu if gpu is None else gpu
    if name == AUTO and run.record.engine != CHOSEN[0]:
        name = run.record.engine
    precision = precision or run.record.precision
    choice = EngineChoice(name, run.solver, run.net, gpu=gpu, precision=precision, shuffle=None, tell=tell)
    choice.check()
    engine = choice.engine
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
    write_text(run.solver, solver)
    run.update(
        **asdict(new),
        changes=(*run.record.changes, EngineChange(iteration, old, new)),
        hardware=hardware(gpus),
        repeatable=f"no: from iteration {iteration:,} on it was trained with another engine, GPU or precision; "
        "another engine rounds otherwise and draws other random numbers",
        prototxt_sha256={**run.record.prototxt_sha256, run.solver.name: sha256(run.solver)},
    )


def _check_end(run: Run, snapshot: Snapshot, max_iter: int | None) -> None:
    """Refuse to go on to an end that is already reached."""
    reached = snapshot.iteration
    if max_iter is not None and max_iter <= reached:
        raise FerError(f"{run.dir} has {reached:,} iterations already; take a larger --max-iter")
    if max_iter is None and run.record.state == "finished" and reached >= run.record.max_iter:
        report = command("fer", "report", run.dir)
        raise FerError(
            f"{run.dir} is finished ({reached:,} iterations)\n"
            f"train it further with --max-iter N, N larger than {reached}; see it with {report}"
        )


def _patience(run: Run, solver: caffe_pb2.SolverParameter, limit: int | None, reached: int) -> Patience | None:
    """The patience to go on with, which remembers the tests that the log shows up to the snapshot."""
    if not limit:
        return None
    tests = [record for record in parse_log(run.log).curve("test") if record.iteration <= reached]
    waits = find_patience(limit, solver, read_net(run.net), run.record.data, tests)
    if waits.over:
        raise FerError(
            f"{run.dir}: {waits}\ngo on with --patience N, N larger than {waits.since}, or without it with --patience 0"
        )
    return waits


def _extend(run: Run, solver: caffe_pb2.SolverParameter, max_iter: int, tell: events.Progress) -> None:
    """Set a new end, in the run's solver too."""
    if solver.lr_policy == "poly" and max_iter != solver.max_iter:
        tell(Warning("lr_policy 'poly' depends on max_iter: the learning rate jumps where the run goes on"))
    solver.max_iter = max_iter
    write_text(run.solver, solver)
    run.update(prototxt_sha256={**run.record.prototxt_sha256, run.solver.name: sha256(run.solver)})


def _warn_anew(run: Run, solver: caffe_pb2.SolverParameter, tell: events.Progress) -> None:
    """The warnings of the training as it goes on now, in run.json in the old ones' place; the new ones are told."""

    def count(source: str) -> int:
        with Database(Path(source)) as database:
            return len(database)

    found = training_warnings(solver, read_net(run.net), count)
    for warning in found:
        if warning not in run.record.warnings:
            tell(Warning(warning))
    run.update(warnings=tuple(found))


def _check_epoch_boundary(
    run: Run, engine: Engine, snapshot: Snapshot, approximate: bool, tell: events.Progress
) -> None:
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
    tell(Warning(note))
    run.update(
        notes=(*run.record.notes, note),
        repeatable=f"no: {note}; an uninterrupted run would give other numbers",
    )
