"""Phases, levels and stages: which layers of a net take part, by Caffe's rules."""

from __future__ import annotations

from dataclasses import dataclass

from fer.errors import FerError
from fer.schema import caffe_pb2

SHUFFLE = "shuffle"
"""The stage in a solver's train_state that asks for a new order of each LMDB in each epoch of training. PyTorch
and TensorFlow do it; for Caffe it is a stage like any other, and the images come in the database's order."""


@dataclass(frozen=True)
class State:
    """A state to look at a net in, as a solver trains it or tests it; `phase` is "TRAIN" or "TEST"."""

    phase: str
    stages: tuple[str, ...] = ()
    level: int = 0


def filter_net(net: caffe_pb2.NetParameter, state: State) -> caffe_pb2.NetParameter:
    """The net with only the layers that take part in `state`.

    As Caffe: a layer with include rules takes part if any of them is met, one with exclude rules unless any of them
    is met; both kinds in one layer is an error. The net's own `state` gives further stages, and its level if none
    is asked for. The answer's `state` is the state it was filtered for.
    """
    whole = _whole(net, state)
    kept = [layer for layer in net.layer if _takes_part(layer, whole)]
    filtered = caffe_pb2.NetParameter()
    filtered.CopyFrom(net)
    del filtered.layer[:]
    filtered.layer.extend(kept)
    filtered.state.CopyFrom(whole)
    return filtered


def taking_part(net: caffe_pb2.NetParameter, state: State) -> list[int]:
    """Positions in `net.layer` of the layers that filter_net keeps, in order."""
    whole = _whole(net, state)
    return [position for position, layer in enumerate(net.layer) if _takes_part(layer, whole)]


def train_state(solver: caffe_pb2.SolverParameter) -> State:
    """The state of the net that a solver trains."""
    return State("TRAIN", tuple(solver.train_state.stage), solver.train_state.level)


def test_states(solver: caffe_pb2.SolverParameter) -> list[State]:
    """The state of each net that a solver tests, in order: one for each test_iter."""
    if solver.test_state:
        return [State("TEST", tuple(state.stage), state.level) for state in solver.test_state]
    return [State("TEST") for _ in solver.test_iter]


def data_layers(net: caffe_pb2.NetParameter, state: State) -> list[caffe_pb2.LayerParameter]:
    """The Data (LMDB) layers that take part in a state, in order."""
    return [layer for layer in filter_net(net, state).layer if layer.type == "Data"]


def scored_state(solver: caffe_pb2.SolverParameter) -> State:
    """The state in which a solver's net is scored: that of its first test, or TEST alone where it makes none."""
    return (test_states(solver) or [State("TEST")])[0]


def _whole(net: caffe_pb2.NetParameter, state: State) -> caffe_pb2.NetState:
    """The state, with what the net's own adds to it."""
    if state.phase not in ("TRAIN", "TEST"):
        raise FerError(f"no phase called {state.phase!r}; there are TRAIN and TEST")
    whole = caffe_pb2.NetState(phase=state.phase, level=state.level or net.state.level)
    whole.stage.extend(dict.fromkeys([*net.state.stage, *state.stages]))
    return whole


def _takes_part(layer: caffe_pb2.LayerParameter, state: caffe_pb2.NetState) -> bool:
    if layer.include and layer.exclude:
        raise FerError(f"layer {layer.name!r} has include and exclude rules; Caffe takes one kind or the other")
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: caffe_pb2.NetState, rule: caffe_pb2.NetStateRule) -> bool:
    """Whether a state meets every condition of a rule: its phase, its levels, all of its stages, no not_stage."""
    stages = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )
