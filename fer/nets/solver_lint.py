"""Faults of a solver that Caffe would abort on, or that `fer train` cannot take, found from its prototxt alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from fer.errors import nearest
from fer.formats.prototxt import SOLVER_TYPES
from fer.formats.prototxt_text import read_text
from fer.formats.tokens import field_line
from fer.nets.policies import policy_faults
from fer.schema import caffe_pb2

_NETS = ("net", "net_param", "train_net", "train_net_param")  # of which Caffe takes one
_TEST_NETS = ("test_net", "test_net_param")


def lint_solver(solver: caffe_pb2.SolverParameter, path: str | Path) -> list[str]:
    """All faults of a solver as read from `path`, each as "path:line: ...", in the order of lines.

    A missing field is reported on line 1.
    """
    text = read_text(path)
    found = {(field_line(text, field), fault) for field, fault in _faults(solver)}
    return [f"{path}:{line}: {fault}" for line, fault in sorted(found)]


def _faults(solver: caffe_pb2.SolverParameter) -> Iterator[tuple[str, str]]:
    """Pairs of the field concerned and a sentence."""
    if solver.type not in SOLVER_TYPES:
        yield (
            "type",
            f"no solver type {solver.type!r}{nearest(solver.type, SOLVER_TYPES)}; there are {_list(SOLVER_TYPES)}",
        )
    yield from policy_faults(solver)
    if not solver.HasField("max_iter"):
        yield "max_iter", "max_iter is missing; add for example  max_iter: 10000"
    elif solver.max_iter < 1:
        yield "max_iter", f"max_iter is {solver.max_iter}; it must be 1 or more"
    for field, least in (("display", 0), ("snapshot", 0), ("average_loss", 1), ("iter_size", 1)):
        if getattr(solver, field) < least:
            yield field, f"{field} is {getattr(solver, field)}; it must be {least} or more"
    if not 0 <= solver.momentum < 1:
        yield "momentum", f"momentum is {solver.momentum:g}; it must lie in 0 <= momentum < 1"
    elif solver.momentum and solver.type in ("AdaGrad", "RMSProp"):
        yield "momentum", f"{solver.type} takes no momentum; delete this field"
    for kind, field in (("RMSProp", "rms_decay"), ("Adam", "momentum2")):
        if solver.type == kind and not 0 <= getattr(solver, field) < 1:
            yield field, f"{field} is {getattr(solver, field):g}; {kind} wants 0 <= {field} < 1"
    if solver.regularization_type not in ("L1", "L2"):
        yield "regularization_type", f"regularization_type is {solver.regularization_type!r}; there are L1, L2"
    yield from _test_faults(solver)
    yield from _file_faults(solver)


def _test_faults(solver: caffe_pb2.SolverParameter) -> Iterator[tuple[str, str]]:
    if any(count < 1 for count in solver.test_iter):
        yield "test_iter", f"test_iter is {_list(solver.test_iter)}; it must be 1 or more"
    if solver.test_iter and solver.test_interval < 1:
        yield "test_interval", "test_iter is given and test_interval is not; add for example  test_interval: 500"
    if solver.test_state and len(solver.test_state) != len(solver.test_iter):
        yield "test_state", f"{len(solver.test_state)} test_state for {len(solver.test_iter)} test_iter; give one each"


def _file_faults(solver: caffe_pb2.SolverParameter) -> Iterator[tuple[str, str]]:
    nets = _given(solver, _NETS)
    if len(nets) > 1:
        yield nets[1], f"{' and '.join(nets)} are given; Caffe takes one of them"
    if len(solver.weights) > 1 or any("," in names for names in solver.weights):
        yield "weights", "weights names several files; give one, or one with --weights"


def unused_fields(solver: caffe_pb2.SolverParameter) -> Iterator[str]:
    """A line for each field of a solver that a run does not follow, as it trains the net that it is given."""
    nets = _given(solver, (*_NETS[1:], *_TEST_NETS))
    if nets:
        yield f"{', '.join(nets)} in the solver: not used, as the net that --net names is trained and tested"
    if solver.snapshot_format != caffe_pb2.SolverParameter.BINARYPROTO:
        yield "snapshot_format: HDF5 in the solver: not used, as a run's snapshots are binary, so as to be verified"
    prefix = PurePosixPath(solver.snapshot_prefix)
    if prefix.is_absolute() or ".." in prefix.parts:
        yield f"snapshot_prefix {solver.snapshot_prefix!r} in the solver: not used, as a run has its own snapshots/"


def _given(solver: caffe_pb2.SolverParameter, fields: Iterable[str]) -> list[str]:
    named = {descriptor.name for descriptor, _ in solver.ListFields()}
    return [field for field in fields if field in named]


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
