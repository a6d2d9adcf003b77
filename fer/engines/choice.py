"""Which engine trains: what a net and its solver ask for, against what the Caffe found can do.

Caffe is asked itself, by a training of one iteration: builds differ (the wheel's BatchNorm does not train), and a
user's own may be of any age.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer.engines.engine import Engine, find_engine, users_own_caffe
from fer.engines.process import EngineFailed, call
from fer.errors import FerError
from fer.formats.blobs import from_blob
from fer.formats.prototxt import read_weights
from fer.nets.lint import KNOWN_LAYERS
from fer.nets.states import filter_net, test_states, train_state
from fer.schema import caffe_pb2

Say = Callable[[str], None]
_SOLVER = """
base_lr: 0.01 lr_policy: "fixed" max_iter: 1 solver_mode: CPU random_seed: 1 snapshot_prefix: "probe" type: "{type}"
"""
_NET = """
net_param {
  layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
    shape { dim: 4 dim: 2 dim: 3 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" std: 1 }
    data_filler { type: "constant" } } }
  %s
  layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
    weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
}
"""
OTHER_CAFFE = "name another Caffe in FER_CAFFE_PYTHON (its Python) or FER_CAFFE (its executable)"
_NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "data" }'


@dataclass(frozen=True)
class Demand:
    """What a training asks of its engine.

    layer_types  of the layers that take part in training or in a test
    statistics   the first BatchNorm layer that is to learn its batches' statistics, or None
    solver_type  "SGD", "Adam", ...
    """

    layer_types: frozenset[str]
    statistics: str | None
    solver_type: str


def demand_of(net: caffe_pb2.NetParameter, solver: caffe_pb2.SolverParameter) -> Demand:
    """What it takes to train `net` as `solver` says. Raises FerError where the net's rules cannot be followed."""
    stages, level = train_state(solver)
    trained = filter_net(net, "TRAIN", stages=stages, level=level).layer
    tested = [
        layer
        for stages, level in test_states(solver)
        for layer in filter_net(net, "TEST", stages=stages, level=level).layer
    ]
    norms = (
        layer.name for layer in trained if layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats
    )
    return Demand(frozenset(layer.type for layer in (*trained, *tested)), next(norms, None), solver.type)


def shortfall(engine: Engine, demand: Demand) -> str | None:
    """Why the engine cannot train what is asked, in words that follow its name; None where it can."""
    if missing := sorted((demand.layer_types & KNOWN_LAYERS) - known_types(engine, demand.layer_types)):
        return f"has no layer type {', '.join(missing)}"
    if engine.name != "caffe" or not (demand.statistics or (engine.own and demand.solver_type != "SGD")):
        return None
    try:
        learnt = _trains(engine, demand)
    except EngineFailed as failure:
        return f"does not train with the solver type {demand.solver_type} ({failure.reason})"
    return None if learnt else f"does not train BatchNorm (layer {demand.statistics!r})"


def known_types(engine: Engine, wanted: frozenset[str]) -> frozenset[str]:
    """The layer types that the engine has. It is only asked where they are not known beforehand: when it is a user's
    own Caffe, or one of those `wanted` is not BVLC Caffe 1.0's."""
    if engine.own or not wanted <= KNOWN_LAYERS:
        return engine.layer_types() if engine.tool is None else _types_of_tool(engine)
    return KNOWN_LAYERS - engine.lacks


def _types_of_tool(engine: Engine) -> frozenset[str]:
    """A `caffe` executable has no verb for it; it lists its layer types where it is asked for one that there is not."""
    try:
        _run(engine, _SOLVER.format(type="SGD") + 'net_param { layer { name: "no" type: "NoSuchType" top: "no" } }')
    except EngineFailed as failure:
        if known := re.search(r"\(known types: ([\w:, ]+)\)", failure.reason):
            return frozenset(name.partition(":")[0] for name in known[1].split(", "))
        raise FerError(f"{engine.tool} does not say which layer types it has\n{failure.reason}") from failure
    raise FerError(f"{engine.tool} trains a layer type that there is not; is it a caffe executable?")


def _trains(engine: Engine, demand: Demand) -> bool:
    """Whether one iteration brings a BatchNorm's statistics along, where there is one. Raises EngineFailed."""
    weights = _run(engine, _SOLVER.format(type=demand.solver_type) + _NET % (_NORM if demand.statistics else ""))
    # The third blob counts the batches that the mean and the variance are of.
    counts = [
        from_blob(blob, layer.name) for layer in weights.layer if layer.name == "norm" for blob in layer.blobs[2:3]
    ]
    return not demand.statistics or any(count.any() for count in counts)


def _run(engine: Engine, solver: str) -> caffe_pb2.NetParameter:
    """What the engine's training of one iteration leaves. Raises EngineFailed."""
    with tempfile.TemporaryDirectory(prefix="fer-caffe-") as folder:
        path = Path(folder) / "solver.prototxt"
        path.write_text(solver, encoding="utf-8")
        argv = engine.train_command(Path(path.name))
        call(argv, engine.train_environment, path.parent, speaker=engine.title, task="trying one iteration")
        return read_weights(path.with_name("probe_iter_1.caffemodel"))


def choose_engine(
    gpu: int | str | None, precision: str, say: Say, *, shuffle: bool = False, demand: Demand | None = None
) -> Engine:
    """What `--engine auto` means: Caffe, but PyTorch for what the Caffe found cannot do. Tells which, and why.

    Raises FerError where neither can be had for it, with the reason and the cure.
    """
    engine, why = _choose(gpu, precision, say, shuffle, demand)
    say(f"engine: {engine.title}, {why}")
    return engine


def _choose(
    gpu: int | str | None, precision: str, say: Say, shuffle: bool, demand: Demand | None
) -> tuple[Engine, str]:
    if precision != "fp32":
        return find_engine("pytorch"), f"for {precision}"
    if shuffle:
        return find_engine("pytorch"), "which shuffles the database"
    if gpu is not None and not _caffe_trains_on(gpu, say):
        return find_engine("pytorch"), f"on GPU {gpu}, which the Caffe found cannot use"
    try:
        caffe = find_engine("caffe", say)
        reason = f"the Caffe found {short}" if demand and (short := shortfall(caffe, demand)) else ""
    except FerError as error:
        if users_own_caffe():
            raise
        reason = str(error).splitlines()[0]
    if not reason:
        return caffe, "on the CPU" if gpu is None else f"on GPU {gpu}"
    try:
        return find_engine("pytorch"), f"as {reason}"
    except FerError as error:
        raise FerError(f"{reason}; {error}\nor {OTHER_CAFFE}") from error


def _caffe_trains_on(gpu: int | str, say: Say) -> bool:
    if not users_own_caffe():
        return False  # the wheel has no GPU code
    caffe = find_engine("caffe", say)
    try:
        caffe.check_gpus(gpu)
    except FerError:
        return False
    return True
