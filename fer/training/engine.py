"""The engine of a training: chosen or as asked for, held against what the net needs, and what it makes of the net."""

import re
from pathlib import Path
from typing import Any

from fer import __version__
from fer.engines.choice import Wish, choose_engine, demand_of, in_precision
from fer.engines.engine import Demand, Engine
from fer.engines.process import EngineFailed
from fer.engines.registry import AUTO, engine_called, engines_that
from fer.errors import FerError, UsageError
from fer.formats.prototxt import read_net
from fer.nets.lint import KNOWN_LAYERS, net_lines
from fer.nets.states import SHUFFLE, State, taking_part, test_states, train_state
from fer.runs.run import Run
from fer.runs.snapshots import Shapes
from fer.schema import caffe_pb2
from fer.system.hardware import native_bf16
from fer.training.events import Notice, Setup, Tell
from fer.training.prototxts import Prototxts


class EngineChoice:
    """The engine for a solver and a net that may still be faulty: what is wrong with them, preflight tells.

    Raises UsageError or FerError where the engine asked for is not there, or cannot do it.
    """

    def __init__(
        self,
        prototxts: Prototxts,
        name: str,
        *,
        gpu: int | str | None,
        precision: str,
        shuffle: bool | None,
        ema: float | None,
        tell: Tell,
    ):
        """`shuffle`: whether a new order each epoch is asked for, besides by the solver; None: it is as it was.

        `ema`: the decay of the exponential average of the weights that the engine is to keep, if any.
        """
        self.prototxts = prototxts
        self.demand, stages = _demand(prototxts, on_gpu=gpu is not None)
        wanted = shuffle or (shuffle is False and SHUFFLE in stages)
        precision = _precision(name, precision, gpu)

        def say(message: str) -> None:
            tell(Setup(message))

        if name == AUTO:
            found = choose_engine(Wish(gpu, precision, wanted, ema is not None, self.demand), say)
        else:
            found = engine_called(name).set_up(say)
        self.engine = in_precision(found, precision)
        self._settled = name == AUTO
        if shuffle and not found.shuffles:
            raise UsageError(
                f"--shuffle: {found.title} reads a database in its own order\n"
                f"take --engine {' or '.join(engines_that(lambda engine: engine.shuffles))}, "
                "or an ImageData layer with shuffle: true"
            )
        if ema is not None and not found.keeps_ema:
            raise UsageError(
                f"--ema {ema:g}: {found.title} keeps no average of the weights\n"
                f"take --engine {' or '.join(engines_that(lambda engine: engine.keeps_ema))}"
            )
        if self.engine.precision == "bf16" and gpu is None and not native_bf16():
            tell(
                Notice(
                    "this processor only emulates bf16 (see fer doctor), several times slower than fp32: "
                    "leave --precision out, or take --precision auto"
                )
            )

    def known_types(self) -> frozenset[str]:
        """The layer types that the engine has."""
        layers = self.prototxts.net.layer if self.prototxts.net else ()
        return self.engine.known_types(frozenset(layer.type for layer in layers))

    def elsewhere(self) -> dict[str, str]:
        """What to say of the net's layer types that this engine has not, and others have."""
        layers = self.prototxts.net.layer if self.prototxts.net else ()
        missing = {layer.type for layer in layers} & KNOWN_LAYERS - self.known_types()
        return {kind: f"{self.engine.title} has no layer type {kind!r}{_take_one_that_has(kind)}" for kind in missing}

    def check(self) -> None:
        """Raise FerError where the engine, asked for by name, cannot train the net."""
        if not self._settled and self.demand and (reason := self.engine.shortfall(self.demand)):
            raise FerError(f"{self.prototxts.net_path}: {self.engine.title} {reason}\n{self.engine.instead}")


def _take_one_that_has(kind: str) -> str:
    names = engines_that(lambda engine: kind not in engine.lacks)
    return f"; take --engine {' or '.join(names)}" if names else ""


def _demand(prototxts: Prototxts, *, on_gpu: bool) -> tuple[Demand | None, list[str]]:
    """What is demanded, None where a file is faulty; and the stages of the solver."""
    solver, net = prototxts.solver, prototxts.net
    stages = list(solver.train_state.stage) if solver else []
    try:
        return (demand_of(net, solver, on_gpu=on_gpu) if net and solver else None), stages
    except FerError:
        return None, stages


def _precision(engine: str, asked: str, gpu: int | str | None) -> str:
    """The one that "auto" is: bf16 on a GPU and on a processor that calculates in it, else fp32."""
    if asked != AUTO:
        return asked
    has_bf16 = engine == AUTO or "bf16" in engine_called(engine).precisions
    return "bf16" if has_bf16 and (gpu is not None or native_bf16()) else "fp32"


def warn_of_order(engine: Engine, solver: caffe_pb2.SolverParameter, tell: Tell) -> None:
    """Say that a stage of the solver's is in vain."""
    if SHUFFLE in solver.train_state.stage and not engine.shuffles:
        tell(
            Notice(f"the solver's stage {SHUFFLE!r} is lost on {engine.title}, which reads a database in its own order")
        )


def describe(engine: Engine, run: Run, solver: caffe_pb2.SolverParameter, source: Path) -> Shapes:
    """The shapes of the parameters of the net that is trained, as the engine builds it; its versions go to run.json.

    Every net that will be tested is built, too, so that no fault is left for the training. `source` is the user's file
    of the net. Raises FerError with the line of the layer that the engine refuses.
    """
    trained = _built(engine, run, train_state(solver), source)
    for state in dict.fromkeys(test_states(solver)):
        tested = _built(engine, run, state, source)
        for name in trained["types"].keys() & tested["types"].keys():
            if trained["params"].get(name) != tested["params"].get(name):
                raise FerError(
                    f"{source}:{_line(source, name, state)}: layer {name!r} has parameters of other shapes in "
                    "TRAIN, and its name is what hands them over"
                )
    if not trained["params"]:
        raise FerError(f"{run.net.name}: this net has no parameters, so there is nothing to train")
    run.update(versions={**run.record.versions, "fer": __version__, engine.name: trained["versions"]})
    params: Shapes = trained["params"]
    return params


def _built(engine: Engine, run: Run, state: State, source: Path) -> dict[str, Any]:
    net = run.net.relative_to(run.dir)
    try:
        return engine.describe(net, state, folder=run.dir)
    except EngineFailed as failure:
        if failure.layer is None:
            raise
        # What it says of places is of the run's copy.
        reason = re.sub(
            rf"{re.escape(str(net))}:\d+: |layer '{re.escape(failure.layer)}'(?: \(\w+\))?: ", "", failure.reason
        )
        if "ModuleNotFoundError" in reason:
            reason += "\nput the folder that holds it into PYTHONPATH"
        where = f"{source}:{_line(source, failure.layer, state)}"
        raise FerError(f"{where}: layer {failure.layer!r}: {reason}") from failure


def _line(path: Path, name: str, state: State) -> int:
    """Of the first layer of this name that takes part; 1 where there is none, as of one that an engine has put in."""
    net = read_net(path)
    lines = net_lines(net, path)
    return next((lines[i] for i in taking_part(net, state) if net.layer[i].name == name), 1)
