"""Training a net in a new run directory.

run = train("lenet", "s2", Path("data/fer2013"), TrainOptions(seed=1))
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer.data.manifest import read_manifest
from fer.errors import FerError, UsageError
from fer.evaluation.event_file import check_tensorboard
from fer.formats.prototxt import to_bytes
from fer.formats.prototxt_text import file_path
from fer.nets.states import filter_net, train_state
from fer.nets.wiring import stays_zero
from fer.nets.zoo import file_name, find_net, find_solver, net_label, run_label
from fer.runs.create import create_run, remove_unbegun
from fer.runs.record import StartWeights
from fer.runs.run import DEPLOY, NET, SOLVER, Run
from fer.runs.snapshots import check_start_weights
from fer.system.escapes import some_names
from fer.system.hashes import file_hash
from fer.system.shell import command
from fer.training.early_stopping import find_early_stopping
from fer.training.engine import EngineChoice, describe, warn_of_order
from fer.training.events import Notice, Setup, Tell, silent
from fer.training.first_record import first_record
from fer.training.options import TrainOptions
from fer.training.overrides import Overrides
from fer.training.preflight.plan import Plan, preflight
from fer.training.prototxts import Prototxts, read_prototxts
from fer.training.session import Session


def train(
    net: str | Path,
    solver: str | Path,
    data_dir: Path,
    options: TrainOptions | None = None,
    progress: Tell | None = None,
) -> Run:
    """Train in a new run directory, to the end. Returns the finished run.

    `net` and `solver` are names of shipped ones, or prototxt files; `progress` is called with the events of
    `fer.training.events`. Raises FerError when anything is wrong (before the engine starts, no run directory is left),
    Interrupted when a signal stopped it, with the work saved.
    """
    options, tell = options or TrainOptions(), progress or silent
    train_val, solver_path = find_net(net), find_solver(net, solver)
    own = options.name
    base_name = run_label(train_val, solver_path) if own is None else _check_name(own, options.runs_dir)
    prototxts = read_prototxts(solver_path, train_val)
    _check_before_an_engine(options, data_dir)
    choice = EngineChoice(
        prototxts,
        options.engine,
        gpu=options.gpu,
        precision=options.precision,
        shuffle=options.shuffle,
        ema=options.ema,
        tell=tell,
    )
    engine = choice.engine.allowing(options.python_layers)
    gpus = engine.check_gpus(options.gpu) if options.gpu is not None else ()
    weights = _start_weights(prototxts, options)
    plan = preflight(
        prototxts,
        data_dir,
        known_types=choice.known_types(),
        elsewhere=choice.elsewhere(),
        overrides=Overrides(options.max_iter, options.epochs, options.lr, options.batch_size),
        seed=options.seed,
        gpus=gpus,
        shuffle=options.shuffle,
        python_layers=options.python_layers,
        ema=options.ema is not None,
        snapshot_prefix=f"snapshots/{net_label(train_val)}",
        run_parent=options.runs_dir,
    )
    choice.check()
    _tell_of(plan, tell)
    warn_of_order(engine, plan.solver, tell)
    record = first_record(plan, net_label(train_val), solver_path, data_dir, engine, gpus)
    patience = options.patience or None
    early_stopping = find_early_stopping(patience, plan.solver, plan.net, record.data) if patience else None
    record, exact = replace(record, patience=patience, ema=options.ema), bool(options.name)
    run = create_run(options.runs_dir, base_name, record, _prototxts(plan), exact=exact)
    with run.locked() as lock:
        with _removed_on_failure(run):
            shapes = describe(engine, run, plan.solver, train_val)
            fresh = _take_weights(run, weights, shapes, tell) if weights else list(shapes)
            _check_filled(plan, fresh)
        session = Session(run, lock, engine, gpus, plan.solver, shapes, early_stopping, tell, options.tensorboard)
        try:
            session.train(weights=weights.absolute() if weights else None)
        finally:
            # Stopped before anything worth keeping was there: as if it had never begun.
            if not run.snapshots() and run.record.state == "interrupted":
                shutil.rmtree(run.dir)
        session.measure_end()
    return run


def _check_before_an_engine(options: TrainOptions, data_dir: Path) -> None:
    """What is to be said before an engine is set up. Raises FerError."""
    if options.tensorboard:
        check_tensorboard(options.tensorboard)
    if not Path(data_dir).is_dir():
        read_manifest(data_dir)  # says what makes one


def _tell_of(plan: Plan, tell: Tell) -> None:
    for remark in (*plan.remarks, *plan.adapted):
        tell(Setup(remark))
    for warning in plan.warnings:
        tell(Notice(warning))


def _start_weights(prototxts: Prototxts, options: TrainOptions) -> Path | None:
    """The .caffemodel to start from: that of --weights, else the solver's own, seen from the current folder or from the
    solver's. Raises FerError where it is not there, or has a comma in its path, at which Caffe parts several files."""
    named = prototxts.solver.weights if prototxts.solver else ()
    path, by = options.weights, "--weights"
    if path is None and named:
        path, by = file_path(named[0]), "weights in the solver:"
        path = path if path.is_file() else prototxts.solver_path.parent / path
    if path is not None and not path.is_file():
        raise FerError(f"{by} {path}: no such file")
    if path is not None and "," in str(path.absolute()):
        raise FerError(f"{by} {path.absolute()}: Caffe takes a comma for the end of a file's name; move or rename it")
    return path


def _check_name(name: str, runs_dir: Path) -> str:
    if name != file_name(name):
        raise UsageError(f"--name {name!r} is no plain name: take letters, digits and . _ + -")
    there = runs_dir / name
    remove_unbegun(there)
    if there.exists():
        raise FerError(f"{there} exists already; take another --name, or {command('--resume', there)}")
    return name


@contextlib.contextmanager
def _removed_on_failure(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(run.dir)
        raise


def _prototxts(plan: Plan) -> dict[str, bytes]:
    messages = {SOLVER: plan.solver, NET: plan.net, DEPLOY: plan.deploy}
    return {name: to_bytes(message) for name, message in messages.items()}


def _take_weights(run: Run, weights: Path, shapes: Mapping[str, Any], tell: Tell) -> list[str]:
    """The names of the layers that they do not have."""
    fresh = check_start_weights(weights, shapes)
    if fresh:
        tell(Notice(f"{weights} has no layer {some_names(fresh)}: learnt from scratch"))
    run.update(weights=StartWeights(str(weights.absolute()), file_hash(weights)))
    return fresh


def _check_filled(plan: Plan, fresh: Sequence[str]) -> None:
    """Raise FerError where layers that begin `fresh` would be 0 for good, as a distilled net's teachers are."""
    trained = filter_net(plan.net, train_state(plan.solver)).layer
    if empty := [layer.name for layer in trained if layer.name in fresh and stays_zero(layer)]:
        raise FerError(
            f"layer {some_names(empty, 3)} would be 0 for good: no filler fills it, and lr_mult is 0\n"
            "give its weights: --weights FILE.caffemodel (fer distill writes one beside its net)"
        )
