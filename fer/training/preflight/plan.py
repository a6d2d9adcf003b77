"""A run that may start: all checks made, and its prototxts.

plan = preflight(read_prototxts("solver.prototxt"), "data/fer2013")
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from fer.data.directory import verify_data
from fer.data.manifest import Manifest
from fer.errors import Faults, FerError
from fer.nets.deploy import derive_deploy
from fer.nets.lint import KNOWN_LAYERS, NOWHERE
from fer.nets.solver_lint import lint_solver
from fer.nets.states import SHUFFLE, scored_state, train_state
from fer.nets.zoo import net_label
from fer.schema import caffe_pb2
from fer.training.overrides import Overrides
from fer.training.preflight.coverage import cover_tests
from fer.training.preflight.scoring import scored_shape
from fer.training.preflight.sizes import disk_faults, net_shapes, shape_faults, snapshots_size
from fer.training.preflight.sources import Sources, epoch, read_sources, source_faults
from fer.training.preflight.subject import Subject
from fer.training.preflight.wiring import module_faults, unknown_stages, wiring_faults, written_faults
from fer.training.prototxts import Prototxts
from fer.training.run_prototxts import net_for_run, solver_for_run
from fer.training.warnings import training_warnings

P = ParamSpec("P")
T = TypeVar("T")
NOTHING_ELSE = Overrides()


@dataclass(frozen=True)
class Plan:
    """A run that may start. `solver`, `net` and `deploy` are the run directory's copies.

    `snapshot_bytes` is what all snapshots of the run will take (0 where the net's sizes are not known);
    `batch_size` is images an iteration (over iter_size and all GPUs; 0 where the net has no Data or ImageData layer);
    `train_count` is images an epoch; `given` is what the command line set in the prototxts' place, and `remarks` say
    what that means for the rest of them; `adapted` says what of the prototxts was set for the data at hand.
    """

    solver: caffe_pb2.SolverParameter
    net: caffe_pb2.NetParameter
    deploy: caffe_pb2.NetParameter
    manifest: Manifest
    warnings: tuple[str, ...]
    adapted: tuple[str, ...]
    snapshot_bytes: int
    batch_size: int
    train_count: int
    given: dict[str, float]
    remarks: tuple[str, ...]


def preflight(
    prototxts: Prototxts,
    data_dir: str | Path,
    *,
    known_types: Collection[str] = KNOWN_LAYERS,
    elsewhere: Mapping[str, str] = NOWHERE,
    overrides: Overrides = NOTHING_ELSE,
    seed: int | None = None,
    gpus: Sequence[int] = (),
    shuffle: bool = False,
    python_layers: bool = False,
    ema: bool = False,
    snapshot_prefix: str = "snapshots/<net>",
    run_parent: str | Path = Path("runs"),
) -> Plan:
    """Check a solver, its net and a data directory, and plan the run.

    `overrides`, `seed`, `gpus` take the place of the prototxts' own; `shuffle` adds the stage of that name;
    `known_types` are the engine's layer types, `elsewhere` has what to say of those that others have;
    `python_layers` allows Python layers of the user's own; `ema` tells of an average beside each snapshot.
    `<net>` in `snapshot_prefix` becomes the net's name. `run_parent` is the folder whose disk takes the snapshots.
    Raises one FerError that lists every fault found, each with its file and line.
    """
    faults = list(prototxts.faults)
    solver = _changed(prototxts.solver, overrides, shuffle)
    if solver is not None:
        faults += lint_solver(solver, prototxts.solver_path)
    manifest = _attempt(faults, verify_data, Path(data_dir))
    if solver is None or prototxts.net is None or prototxts.net_path is None:
        _refuse(faults)
    changed = _attempt(faults, overrides.changed_net, prototxts.net, train_state(solver)) or prototxts.net
    written = Subject(solver, prototxts.solver_path, changed, prototxts.net_path)
    faults += wiring_faults(written, known_types, elsewhere)
    faults += () if python_layers else module_faults(written)
    faults += written_faults(written)
    if manifest is None or written.ambiguous:
        _refuse(faults)
    net_as_run = net_for_run(written.net, data_dir, [written.train, *written.tests])
    subject = written.with_net(net_as_run)
    sources = read_sources(subject, len(manifest.classes))
    faults += source_faults(subject, sources, len(manifest.classes))
    if faults:
        _refuse(faults)
    subject, adapted = cover_tests(subject, sources)
    solver = subject.solver
    images, count = epoch(subject, sources)
    images *= max(len(gpus), 1)
    solver.max_iter = overrides.end(images, count) or solver.max_iter
    prefix = snapshot_prefix.replace("<net>", net_label(subject.net_path))
    plan = _plan(subject, sources, manifest, Path(data_dir), Path(run_parent), ema=ema)
    own = solver_for_run(solver, snapshot_prefix=prefix, seed=seed, gpu=gpus[0] if gpus else None)
    remarks = overrides.remarks(prototxts.solver or solver, solver, images, plan.train_count)
    adapted = (*_backends(written.net, net_as_run), *adapted)
    return replace(plan, solver=own, batch_size=images, given=overrides.given, remarks=tuple(remarks), adapted=adapted)


def _plan(
    subject: Subject,
    sources: Sources,
    manifest: Manifest,
    data_dir: Path,
    run_parent: Path,
    *,
    ema: bool,
) -> Plan:
    """The plan for data that are whole, once the net's sizes fit them and the disk."""
    solver, net = subject.solver, subject.net
    faults = list(shape_faults(subject, sources, manifest.classes))
    shapes = None if faults else net_shapes(subject, sources, subject.train)
    count, each = snapshots_size(solver, shapes, ema=ema)
    faults += disk_faults(count, each, run_parent) if shapes else ()
    shape = _attempt(faults, scored_shape, subject, data_dir, manifest)
    if faults or shape is None:
        _refuse(faults)
    deploy = derive_deploy(net, shape, scored_state(solver))
    batch_size, train_count = epoch(subject, sources)
    return Plan(
        solver=solver,
        net=net,
        deploy=deploy,
        manifest=manifest,
        warnings=(
            *unknown_stages(subject),
            *training_warnings(solver, net, lambda source: _count(sources, source)),
        ),
        adapted=(),
        snapshot_bytes=count * each,
        batch_size=batch_size,
        train_count=train_count or manifest.splits["train"].count,
        given={},
        remarks=(),
    )


def _backends(written: caffe_pb2.NetParameter, run: caffe_pb2.NetParameter) -> Iterable[str]:
    """A line for each data layer that reads a data directory's LMDB in place of a LevelDB."""
    for theirs, ours in zip(written.layer, run.layer, strict=True):
        if theirs.data_param.backend != ours.data_param.backend:
            yield f"layer {ours.name!r} reads {ours.data_param.source}, with  backend: LMDB"


def _changed(
    solver: caffe_pb2.SolverParameter | None, overrides: Overrides, shuffle: bool
) -> caffe_pb2.SolverParameter | None:
    """A copy with what the command line says."""
    if solver is None:
        return None
    copy = overrides.changed(solver)
    if shuffle and SHUFFLE not in copy.train_state.stage:
        copy.train_state.stage.append(SHUFFLE)
    return copy


def _count(sources: Sources, source: str) -> int:
    info = sources.database(source)
    assert info is not None  # a fault of it has ended the preflight
    return info.count


def _attempt(faults: list[str], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The function's answer, or None with its FerError's text among the faults."""
    try:
        return function(*args, **kwargs)
    except FerError as error:
        faults.append(str(error))
        return None


def _refuse(faults: Iterable[str]) -> NoReturn:
    raise Faults(faults, "not started; to mend first:")
