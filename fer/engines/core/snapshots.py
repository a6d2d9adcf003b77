"""A training's snapshots: weights, state, and beside them what else makes a resume the same run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.engines.caffe import ipc
from fer.engines.core.ema import ema_file, shown
from fer.engines.core.framework import Ema, Net, NetState, Training
from fer.engines.core.log import Log
from fer.engines.core.ranks import Ranks
from fer.engines.core.rates import step_at
from fer.engines.core.sidecar import GENERATORS, generators_of, read_sidecar, sidecar, write_sidecar
from fer.engines.core.weights import SolverState, copy_weights, read_state, write_model, write_state
from fer.errors import FerError
from fer.formats.log_lines import Resuming, Snapshotting, SnapshottingState
from fer.schema import caffe_pb2


@dataclass(frozen=True)
class Trained:
    """What a snapshot is of."""

    net: Net
    test_nets: Sequence[Net]
    training: Training
    ranks: Ranks
    seed: int
    ema: Ema | None = None


class Snapshots:
    """Writes and reads the snapshots of the solver `param`, whose file is `path`."""

    def __init__(self, param: caffe_pb2.SolverParameter, path: Path, trained: Trained, log: Log):
        self._param, self._path = param, path
        self._of = trained
        self._log = log

    @staticmethod
    def prefix(param: caffe_pb2.SolverParameter, path: Path) -> Path:
        """What the names of a solver's snapshots begin with; in a folder, or without a prefix, the solver's name."""
        given = param.snapshot_prefix
        if not given:
            return path.with_suffix("")
        return Path(given) / path.stem if Path(given).is_dir() else Path(given)

    def take(self, iteration: int, before_test: list[NetState] | None) -> None:
        """Write weights, state and what lies beside it (first, so that the state's presence says all is there).

        `before_test`: the test nets' states before this iteration's test, where it was made already.
        """
        others = self._of.ranks.gather(self._of.net.generators())
        if self._of.ranks.rank != 0:
            return
        suffix = ".h5" if self._param.snapshot_format == caffe_pb2.SolverParameter.HDF5 else ""
        prefix = self.prefix(self._param, self._path)
        stem = f"{prefix.name}_iter_{iteration}"
        model = prefix.with_name(f"{stem}.caffemodel{suffix}")
        state = prefix.with_name(f"{stem}.solverstate{suffix}")
        train = self._of.net.state()
        train.update((generators_of(rank), states) for rank, states in enumerate(others) if rank)
        states = [train, *(before_test or [net.state() for net in self._of.test_nets])]
        write_sidecar(sidecar(state), iteration, self._of.seed, self._of.net, states)
        if ema := self._of.ema:
            self._log.info(f"Saving the exponential average of the weights to {ema_file(model)}", "solver.cpp:1")
            with shown(ema):
                write_model(ema_file(model), self._of.net)
        self._log(Snapshotting(str(model)))
        write_model(model, self._of.net)
        self._log(SnapshottingState(str(state)))
        step = step_at(self._param, iteration - 1)
        write_state(state, SolverState(iteration, str(model), step, self._of.training.history()))

    def restore(self, path: str | Path) -> int:
        """Take over a .solverstate of this engine or of Caffe: weights, history, data and generators; the iteration."""
        self._log(Resuming(str(path)))
        state = read_state(path)
        if ema := self._of.ema:
            copy_weights(self._of.net, ema_file(Path(path)), complete=True)
            ema.take(0)
        copy_weights(self._of.net, _learned_net(state, Path(path)), complete=True)
        self._of.training.load_history(state.history, legacy=state.legacy)
        saved = read_sidecar(sidecar(path), state.iteration, self._of.net)
        if saved is None:
            self._seek(state.iteration)
        else:
            self._load_states(saved, state.iteration)
        return state.iteration

    def _load_states(self, states: list[NetState], iteration: int) -> None:
        """Continue each net as the sidecar's states say, the train net with this rank's own generators."""
        train, *tests = states
        own = train.get(generators_of(self._of.ranks.rank), {})
        generators = {name: own.get(name) for name in train.get(GENERATORS, {})} | own
        states = [{**train, GENERATORS: generators}, *tests]
        anew: set[str] = set()
        for net, state in zip([self._of.net, *self._of.test_nets], states, strict=False):
            anew.update(net.load_state(state, iteration))
        if anew:
            self._log.info(
                "The snapshot was taken by another engine, on another kind of device or by fewer ranks: the random "
                f"numbers of {', '.join(sorted(anew))} begin anew from the seed and the iteration, "
                "unlike those without a stop",
                severity="W",
            )

    def _seek(self, iteration: int) -> None:
        """Put the data to where the finished iterations, and the tests between them, would have brought it."""
        self._log.info(ipc.text_of(ipc.Replaying(iteration)), "solver.cpp:1")
        self._of.net.seek(iteration * self._param.iter_size)
        interval = self._param.test_interval
        tests = -(-iteration // interval) if interval else 0
        if not self._param.test_initialization:
            tests = max(tests - 1, 0)
        for number, net in enumerate(self._of.test_nets):
            net.seek(tests * self._param.test_iter[number])


def _learned_net(state: SolverState, path: Path) -> Path:
    """The weights a state names, or those beside it under the state's own name."""
    name = path.name.replace(".solverstate", ".caffemodel")
    candidates = [path.with_name(name), Path(state.learned_net), path.with_name(Path(state.learned_net).name)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FerError(f"{path} names the weights {state.learned_net}, which are not there nor beside it")
