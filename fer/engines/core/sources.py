"""The nets that a solver names: the one it trains and those it tests."""

from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.formats.prototxt import read_net, solver_net_path
from fer.nets.states import State, test_states, train_state
from fer.schema import caffe_pb2


@dataclass(frozen=True)
class NetSource:
    """A net to build: its definition, the file it is from (None: the solver itself), and the state to filter it for."""

    proto: caffe_pb2.NetParameter
    path: Path | None
    state: State
    text: str
    """Where it is from, as Caffe's log says it."""


def train_source(solver: caffe_pb2.SolverParameter, solver_path: str | Path) -> NetSource:
    """The net to train; FerError unless the solver names exactly one."""
    fields = ("net", "net_param", "train_net", "train_net_param")
    given = [name for name in fields if solver.HasField(name)]
    if len(given) != 1:
        what = "no train net" if not given else f"more than one train net ({', '.join(given)})"
        raise FerError(f"{solver_path}: the solver specifies {what}; give one of {', '.join(fields)}")
    state = train_state(solver)
    if given[0].endswith("_param"):
        return NetSource(getattr(solver, given[0]), None, state, f"specified in {given[0]}.")
    path = solver_net_path(solver, solver_path)
    return NetSource(read_net(path), path, state, f"from {given[0]} file: {getattr(solver, given[0])}")


def test_sources(solver: caffe_pb2.SolverParameter, solver_path: str | Path) -> list[NetSource]:
    """The nets to test, one for each test_iter, in Caffe's order; FerError where their numbers do not fit."""
    own: list[tuple[caffe_pb2.NetParameter, Path | None, str]] = []
    own += [(proto, None, "test_net_param") for proto in solver.test_net_param]
    for name in solver.test_net:
        path = solver_net_path(caffe_pb2.SolverParameter(net=name), solver_path)
        own.append((read_net(path), path, f"test_net file: {name}"))
    count = len(solver.test_iter)
    generic = solver.HasField("net") or solver.HasField("net_param")
    if count < len(own) or (count != len(own) and not generic):
        raise FerError(
            f"{solver_path}: test_iter must be specified for each test network: {count} for {len(own)} test nets"
        )
    if count > len(own):
        train = train_source(solver, solver_path)
        text = f"net file: {solver.net}" if train.path else "net_param"
        own += [(train.proto, train.path, text)] * (count - len(own))
    states = test_states(solver)
    if len(states) != count:
        raise FerError(f"{solver_path}: test_state must be given once per test net: {len(states)} for {count}")
    if count and solver.test_interval <= 0:
        raise FerError(f"{solver_path}: test_iter is given, so test_interval must be 1 or more")
    return [NetSource(proto, path, state, text) for (proto, path, text), state in zip(own, states, strict=True)]
