"""Faults of sizes: layers that do not fit each other, nets that score other classes, a disk that is too small."""

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer.formats.database import DatabaseInfo
from fer.formats.prototxt import TWO_HISTORIES
from fer.nets.deploy import OF_CLASSES
from fer.nets.heads import head_of
from fer.nets.shapes import NetShapes, ShapeError, UnknownShapeError, infer_shapes
from fer.nets.states import State, filter_net, scored_state
from fer.nets.zoo import NETS
from fer.schema import caffe_pb2
from fer.system.escapes import some_names
from fer.system.shell import command
from fer.training.preflight.sources import Sources, image_shape
from fer.training.preflight.subject import Subject

_SPARE_BYTES = 64 << 20  # for log, scores and report


def net_shapes(subject: Subject, sources: Sources, state: State) -> NetShapes | None:
    """The shapes of the net in a state; None where they cannot be known. Raises ShapeError where layers do not fit."""
    try:
        found = {path: info.shape for path, info in sources.databases.items() if isinstance(info, DatabaseInfo)}
        net, shape = filter_net(subject.net, state), image_shape(subject, sources, _first(subject, state))
        return infer_shapes(net, shape, found)
    except UnknownShapeError:
        return None


def _first(subject: Subject, state: State) -> State:
    """The state whose data layer tells the images' shape: of tests the first one."""
    return state if state.phase == "TRAIN" else (subject.tests or [State("TEST")])[0]


def shape_faults(subject: Subject, sources: Sources, classes: Sequence[str]) -> Iterator[str]:
    """That all layers fit in every state, and that the net scores every class."""
    for state in (subject.train, *subject.tests):
        positions = subject.positions(state)
        try:
            shapes = net_shapes(subject, sources, state)
        except ShapeError as error:
            yield subject.fault(positions[error.position], str(error))
            continue
        if shapes is not None:
            yield from _output_faults(subject, positions, shapes, classes)
            if state == scored_state(subject.solver):
                yield from _scored_faults(subject, positions, shapes, classes)


def _output_faults(subject: Subject, positions: list[int], shapes: NetShapes, classes: Sequence[str]) -> Iterator[str]:
    for index, position in enumerate(positions):
        judge = subject.net.layer[position]
        scores = shapes.blobs[judge.bottom[0]] if judge.type in OF_CLASSES else ()
        if len(scores) > 1 and scores[1] != len(classes):
            before = positions[:index]
            maker = next(k for k in before if judge.bottom[0] in subject.net.layer[k].top)
            maker = next(iter(head_of(subject.net, before, judge.bottom[0])), maker)
            copy = command("fer", "nets", _called(subject.net_path), "--copy", "mynet", "--classes", len(classes))
            name, of = subject.net.layer[maker].name, f"{len(classes)} classes ({some_names(classes)})"
            fault = f"layer {name!r} gives {scores[1]} scores to {judge.name!r} for {of}"
            yield subject.fault(maker, f"{fault}; set  num_output: {len(classes)}\n{copy} makes a net that fits")


def _scored_faults(subject: Subject, positions: list[int], shapes: NetShapes, classes: Sequence[str]) -> Iterator[str]:
    """That what a test judges by no class has a score for each of them all the same: the report takes the largest."""
    tested = [subject.net.layer[i] for i in positions]
    judges = [i for i, layer in zip(positions, tested, strict=True) if layer.type.endswith("Loss") and layer.bottom]
    if not judges or any(layer.type in OF_CLASSES for layer in tested):
        return
    judge = subject.net.layer[judges[-1]]
    scores = shapes.blobs[judge.bottom[0]]
    if math.prod(scores[1:]) != len(classes):
        given = "x".join(map(str, scores[1:])) or "no"
        yield subject.fault(
            judges[-1],
            f"layer {judge.name!r} tests {given} numbers an image, and the report scores {len(classes)} classes "
            f"({some_names(classes)})\nend the TEST phase in a score for each class, and an Accuracy layer",
        )


def _called(net_path: Path) -> str:
    """What a command calls a net: a shipped one by its name."""
    return net_path.parent.name if net_path.parent.parent == NETS else str(net_path)


def snapshots_size(solver: caffe_pb2.SolverParameter, shapes: NetShapes | None, *, ema: bool) -> tuple[int, int]:
    """(how many snapshots a run takes, bytes of one, with its average; 0 where the net's sizes are not known)."""
    count = math.ceil(solver.max_iter / (solver.snapshot or solver.max_iter))
    copies = (3 if solver.type in TWO_HISTORIES else 2) + ema
    return count, 4 * shapes.param_count * copies if shapes else 0


def disk_faults(count: int, each: int, run_parent: Path) -> Iterator[str]:
    """That the disk has room for all snapshots of the run."""
    folder = run_parent.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if count * each + _SPARE_BYTES > free:
        yield (
            f"the run's {count} snapshots of {_mib(each)} need {_mib(count * each)}, and {folder} has {_mib(free)} "
            "free\nmake room, or take snapshots less often (snapshot in the solver)"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
