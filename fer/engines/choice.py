"""Which engine trains: what a net and its solver ask for, against what the engines can do."""

from dataclasses import dataclass

from fer.engines.engine import Demand, Engine, Say
from fer.engines.measured import TIMES_CAFFE_ON_A_GPU
from fer.engines.real_caffe import OTHER_CAFFE
from fer.engines.registry import CHOSEN, ENGINES, SPARE, engine_called, engines_that
from fer.errors import FerError, UsageError
from fer.nets.states import filter_net, test_states, train_state
from fer.nets.wiring import learns_statistics
from fer.schema import caffe_pb2


def demand_of(net: caffe_pb2.NetParameter, solver: caffe_pb2.SolverParameter, *, on_gpu: bool = False) -> Demand:
    """What it takes to train `net` as `solver` says. Raises FerError where the net's rules cannot be followed."""
    trained = filter_net(net, train_state(solver)).layer
    tested = [layer for state in test_states(solver) for layer in filter_net(net, state).layer]
    norms = (layer.name for layer in trained if learns_statistics(layer))
    layers = (*trained, *tested)
    stochastic = (layer.name for layer in layers if not on_gpu and _pools_by_chance(layer))
    return Demand(frozenset(layer.type for layer in layers), next(norms, None), solver.type, next(stochastic, None))


def _pools_by_chance(layer: caffe_pb2.LayerParameter) -> bool:
    if layer.type == "SPP":
        return layer.spp_param.pool == caffe_pb2.SPPParameter.STOCHASTIC
    return layer.type == "Pooling" and layer.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC


def as_they_come(demand: Demand) -> list[str]:
    """Names of the engines that can train what is asked, as far as is known without starting one.

    Of Caffe this is a build of ours, else the one that fer brings, whose BatchNorm does not train.
    """
    from fer.engines.caffe_build.builds import candidates  # here, as the command line goes without it

    able = [name for name, make in ENGINES.items() if not demand.layer_types & make().lacks]
    return [name for name in able if not (name == "caffe" and demand.statistics and not candidates())]


@dataclass(frozen=True)
class Wish:
    """How a training is to run. `demand` is None where the net's is not known, as its files are faulty."""

    gpu: int | str | None = None
    precision: str = "fp32"
    shuffle: bool = False
    ema: bool = False
    demand: Demand | None = None


def choose_engine(wish: Wish, say: Say) -> Engine:
    """What `--engine auto` means: the first of CHOSEN that can do what is asked. Says which it is, and why.

    Raises FerError where none can be had for it, with the reason and the cure.
    """
    why = "on the CPU" if wish.gpu is None else f"on GPU {wish.gpu}"
    short = ""
    for name in CHOSEN[:-1]:
        engine = engine_called(name)
        if reason := _unfit(engine, wish, say):
            why = reason
            continue
        try:
            found = engine.set_up(say)
            short = f"the Caffe found {missing}" if wish.demand and (missing := found.shortfall(wish.demand)) else ""
        except FerError as error:
            if engine.own:
                raise
            short = str(error).splitlines()[0]
        if not short:
            break
        why = f"as {short}"
    else:
        found = _last_resort(wish, short, say)
        if wish.demand and (missing := found.shortfall(wish.demand)):
            raise FerError(f"{found.title}, {why}, {missing}\n{found.instead}")
    say(f"engine: {found.title}, {why}")
    return found


def _last_resort(wish: Wish, short: str, say: Say) -> Engine:
    try:
        return engine_called(CHOSEN[-1]).set_up(say)
    except FerError as error:
        if spare := _spare(wish, say):
            return spare
        if not short:
            raise
        raise FerError(f"{short}; {error}\nor {OTHER_CAFFE}") from error


def _spare(wish: Wish, say: Say) -> Engine | None:
    """The engine that is nobody's first choice, where it is there and can do what is asked."""
    engine = engine_called(SPARE)
    try:
        if _unfit(engine, wish, say):
            return None
        found = engine.set_up(say)
        return None if wish.demand and found.shortfall(wish.demand) else found
    except FerError:
        return None


def _unfit(engine: Engine, wish: Wish, say: Say) -> str | None:
    """Why another engine trains, in words that follow that one's name; None where nothing speaks against this one."""
    if wish.precision not in engine.precisions:
        return f"for {wish.precision}"
    if wish.shuffle and not engine.shuffles:
        return "which shuffles the database"
    if wish.ema and not engine.keeps_ema:
        return "which keeps an average of the weights"
    if wish.gpu is not None and not _trains_on(engine, wish.gpu, say):
        return f"on GPU {wish.gpu}, which the {engine.name.capitalize()} found cannot use"
    # A Caffe that the user named is taken at that word.
    if wish.gpu is not None and engine.name == "caffe" and not engine.own and _pytorch_can(wish, say):
        return f"on GPU {wish.gpu}, where it trained {min(TIMES_CAFFE_ON_A_GPU.values()):.0f} times as fast as Caffe"
    return None


def _pytorch_can(wish: Wish, say: Say) -> bool:
    assert wish.gpu is not None  # without one, real Caffe is the first choice
    try:
        pytorch = engine_called("pytorch").set_up(say)
        pytorch.check_gpus(wish.gpu)
    except FerError:
        return False
    return not (wish.demand and pytorch.shortfall(wish.demand))


def _trains_on(engine: Engine, gpu: int | str, say: Say) -> bool:
    if not engine.has_gpu_code:
        return False
    try:
        found = engine.set_up(say)
    except FerError:
        if engine.own:
            raise
        return False
    try:
        found.check_gpus(gpu)
    except FerError:
        return False
    return True


def in_precision(engine: Engine, precision: str) -> Engine:
    """The engine that trains in this precision. Raises UsageError where it has only others, and names one that has."""
    if precision in engine.precisions:
        return engine.at(precision)
    others = engines_that(lambda other: precision in other.precisions)
    raise UsageError(
        f"--precision {precision}: {engine.title} trains in {' or '.join(engine.precisions)}"
        + (f" only; take --engine {others[0]}" if others else "")
    )
