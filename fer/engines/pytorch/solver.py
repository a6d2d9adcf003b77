"""Caffe's Solver: train, test, display, snapshot, in its order and with its lines."""

import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer.engines.pytorch import checkpoint
from fer.engines.pytorch.device import computing, graphs_wanted, set_up
from fer.engines.pytorch.distributed import Ranks, Requests
from fer.engines.pytorch.hdf5 import need_hdf5
from fer.engines.pytorch.log import Log
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.net_log import log_net
from fer.engines.pytorch.nets import NetSource, test_sources, train_source
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.pytorch.signals import Signals
from fer.engines.pytorch.step import Step as Pass
from fer.engines.pytorch.updates import Updater, rate_at, step_at
from fer.engines.pytorch.weights import SolverState, copy_weights, read_state, write_model, write_state
from fer.errors import FerError
from fer.formats.log_lines import (
    Done,
    Iteration,
    Lr,
    Policy,
    Resuming,
    Snapshotting,
    SnapshottingState,
    Solving,
    Step,
    StoppedEarly,
    Testing,
    TestLoss,
    TestOutput,
    TrainOutput,
)
from fer.formats.prototxt import to_text
from fer.schema import caffe_pb2


class Stop(Exception):  # no error: the way out of the loop when a signal asked for it
    """Raised between iterations, where the solver's state is exactly "N iterations done"."""


@dataclass
class Setting:
    """How a solver runs, beyond what its prototxt says."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    ranks: Ranks = field(default_factory=Ranks)
    signals: Signals = field(default_factory=Signals)
    log: Log = field(default_factory=Log)
    graphs: bool = field(default_factory=graphs_wanted)
    """Whether passes on a GPU are replayed as a CUDA graph."""
    memory_format: torch.memory_format = torch.channels_last
    """How images and filters lie in memory; scripts/bench_gpu.py measures both ways."""


class Solver:
    """A training: the nets, the update rule, and how many iterations are done."""

    def __init__(
        self,
        param: caffe_pb2.SolverParameter,
        path: str | Path,
        setting: Setting | None = None,
        *,
        snapshot: str | Path | None = None,
        weights: Sequence[str | Path] = (),
    ):
        """Set the nets up, then resume from `snapshot` or start from `weights`. `path` is the solver's own file."""
        self.param = param
        self.path = Path(path)
        self.setting = setting or Setting()
        self.log, self.signals, self.ranks = self.setting.log, self.setting.signals, self.setting.ranks
        self.iteration = self._start = 0
        self._check()
        set_up(self.setting.device, self.setting.precision)
        self.seed = self._choose_seed(snapshot)
        self.log.info(f"Initializing solver from parameters: \n{to_text(param)}", "solver.cpp:45")
        self.net = self._train_net()
        self.updater = Updater(self.net.learnable, param)
        self.ranks.same_parameters(self.net)
        self.ranks.hold_gradients(self.updater.trained)
        self.test_nets = self._test_nets() if self.ranks.rank == 0 else []
        self.log.info("Solver scaffolding done.", "solver.cpp:57")
        self._pass = Pass(
            self.net,
            self.updater.trained,
            self.setting.precision,
            self.ranks,
            param.iter_size,
            self.log,
            self.setting.graphs,
        )
        self._losses: deque[Tensor] = deque(maxlen=param.average_loss)
        self._snapshot_of: int | None = None
        self._before_test: list[dict[str, Any]] | None = None
        self._displayed = (0, time.monotonic())
        self._requests = Requests(self.signals, self.ranks)
        if snapshot and weights:
            raise FerError("Give a snapshot to resume training or weights to finetune but not both.")
        if snapshot:
            self.restore(snapshot)
        for name in weights:
            self.log.info(f"Finetuning from {name}", "caffe.cpp:155")
            copy_weights(self.net, name)
            for net in self.test_nets:
                if set(net.params) - set(self.net.params):  # the rest they share
                    copy_weights(net, name)

    # ---- setting up

    def _check(self) -> None:
        if self.param.average_loss < 1:
            raise FerError(f"{self.path}: average_loss is {self.param.average_loss}; it must be 1 or more")
        if self.param.max_iter < 0:
            raise FerError(f"{self.path}: max_iter is {self.param.max_iter}; it must be 0 or more")
        if any(count < 1 for count in self.param.test_iter):
            raise FerError(f"{self.path}: test_iter must be 1 or more")
        rate_at(self.param, 0)  # raises for a policy that cannot be
        step_at(self.param, 0)
        if self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5:
            need_hdf5(f"{self.path}: snapshot_format")
        if self.param.snapshot or self.param.snapshot_after_train:
            folder = self._prefix().parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FerError(f"snapshot_prefix: cannot make {folder}: {error.strerror}") from error
            if not os.access(folder, os.W_OK):
                raise FerError(f"Cannot write to snapshot prefix '{self._prefix()}': {folder} is not writable")

    def _choose_seed(self, snapshot: str | Path | None) -> int:
        """random_seed; where that is left to chance, the seed of the run that is resumed, and every rank's the same."""
        seed = self.param.random_seed
        if seed < 0:
            saved = checkpoint.read_seed(checkpoint.sidecar(snapshot)) if snapshot else None
            seed = Seeds().seed if saved is None else saved
        return self.ranks.agree(seed if self.ranks.rank == 0 else 0)[0]

    def _context(self, phase: str, scope: str) -> Context:
        seeds = Seeds(self.seed, self.setting.device, scope)
        ranks, memory_format = self.ranks, self.setting.memory_format
        return Context(
            phase, self.setting.device, torch.float32, seeds, ranks.rank, ranks.world, memory_format=memory_format
        )

    def _build(self, source: NetSource, context: Context) -> Net:
        net = Net(source.proto, context, stages=source.stages, level=source.level, path=source.path)
        log_net(self.log, net)
        return net

    def _train_net(self) -> Net:
        source = train_source(self.param, self.path)
        self.log.info(f"Creating training net {source.text}", "solver.cpp:102")
        rank = self.ranks.rank
        net = self._build(source, self._context("TRAIN", f"train/{rank}" if rank else "train"))
        net.run_lean()
        return net

    def _test_nets(self) -> list[Net]:
        nets = []
        for number, source in enumerate(test_sources(self.param, self.path)):
            self.log.info(f"Creating test net (#{number}) specified by {source.text}", "solver.cpp:190")
            net = self._build(source, self._context("TEST", f"test{number}"))
            net.share(self.net)
            net.run_lean()
            nets.append(net)
        return nets

    # ---- solving

    def solve(self) -> int:
        """Train to max_iter as Caffe's Solve does. 0, or 128 + the signal that stopped it (then with a snapshot)."""
        self.log(Solving(self.net.name))
        self.log(Policy(self.param.lr_policy))
        self._start = self.iteration
        self._losses.clear()
        self._displayed = (self._displayed[0], time.monotonic())
        try:
            self.step(self.param.max_iter - self.iteration)
            if self.param.snapshot_after_train and not self._snapshot_due():
                self.snapshot()
            self._finish()
        except Stop:
            if self.iteration == self._start or not self._snapshot_due():
                self.snapshot()
            self.log(StoppedEarly())
            return 128 + (self.signals.stop or signal.SIGTERM)
        self.log(Done())
        return 0

    def step(self, count: int) -> None:
        """Train `count` iterations; raises Stop when a signal asks for it."""
        param = self.param
        last = self.iteration + count
        while self.iteration < last:
            due = param.test_interval and self.iteration % param.test_interval == 0
            if due and (self.iteration > 0 or param.test_initialization):
                self.test_all()
            self._attend()
            self._iterate()
            self.iteration += 1
            self._before_test = None
            if self._snapshot_due():
                self.snapshot()

    def _iterate(self) -> None:
        """One update of the parameters, with the lines that belong to it."""
        display = bool(self.param.display) and self.iteration % self.param.display == 0
        self._pass.clear()
        loss = self._pass()
        for _ in range(self.param.iter_size - 1):
            loss = loss + self._pass()
        self._losses.append(loss / self.param.iter_size if self.param.iter_size > 1 else loss)
        if display:
            self._display()
        self.ranks.average_gradients()
        rate = rate_at(self.param, self.iteration)
        step = step_at(self.param, self.iteration)
        if self.param.lr_policy == "multistep" and step > step_at(self.param, self.iteration - 1):
            self.log(Step(self.iteration, step))
        if display:
            self.log(Lr(self.iteration, rate))
        norm = self.updater.apply(self.iteration, rate)
        if norm is not None:
            limit = self.param.clip_gradients
            self.log.info(
                f"Gradient clipping: scaling down gradients (L2 norm {norm:.6g} > {limit:.6g}) "
                f"by scale factor {limit / norm:.6g}",
                "sgd_solver.cpp:94",
            )

    def _smoothed_loss(self, outputs: list[Tensor]) -> tuple[float, list[Tensor]]:
        """The mean of the last average_loss losses, and `outputs`, both averaged over the ranks and on the host."""
        loss = torch.stack(list(self._losses)).mean()
        loss, *outputs = self.ranks.average([loss, *outputs])
        return loss.item(), [value.float().cpu() for value in outputs]

    def _display(self) -> None:
        loss, outputs = self._smoothed_loss(self.net.output_values())
        iteration, then = self._displayed
        now = time.monotonic()
        self._displayed = (self.iteration, now)
        elapsed = now - then
        rate = (self.iteration - iteration) / (elapsed or 1.0)
        self.log(Iteration(self.iteration, loss, rate, elapsed, self.param.display))
        index = 0
        for (name, weight), values in zip(self.net.outputs, outputs, strict=True):
            for value in values.reshape(-1).tolist():
                self.log(TrainOutput(index, name, value, weight))
                index += 1

    def _finish(self) -> None:
        """The loss after the last update, and a last test, where display and test_interval fall on the end."""
        if self.param.display and self.iteration % self.param.display == 0:
            with torch.no_grad(), computing(self.setting.precision, self.setting.device):
                self._losses.append(self.net.forward().detach())
            loss, _ = self._smoothed_loss([])
            self.log(Iteration(self.iteration, loss))
        if self.param.test_interval and self.iteration % self.param.test_interval == 0:
            self.test_all()

    # ---- testing

    def test_all(self) -> None:
        """Score every test net; raises Stop at the next batch when a signal asks for it."""
        # A snapshot taken at this iteration must resume before this test.
        self._before_test = [net.state() for net in self.test_nets]
        for number in range(len(self.test_nets)):
            self._test(number)

    def _test(self, number: int) -> None:
        self.log(Testing(self.iteration, number))
        net, batches = self.test_nets[number], self.param.test_iter[number]
        total: list[Tensor] = []
        loss: Tensor | None = None
        with torch.no_grad(), computing(self.setting.precision, self.setting.device):
            for _ in range(batches):
                if self.signals.stop and self.ranks.alone:
                    raise Stop
                batch_loss = net.forward()
                loss = batch_loss if loss is None else loss + batch_loss
                outputs = [value.float() for value in net.output_values()]
                total = [a + b for a, b in zip(total, outputs, strict=True)] if total else outputs
        if self.param.test_compute_loss and loss is not None:
            self.log(TestLoss(loss.item() / batches))
        index = 0
        for (name, weight), values in zip(net.outputs, total, strict=True):
            for value in (values / batches).cpu().reshape(-1).tolist():
                self.log(TestOutput(index, name, value, weight))
                index += 1

    # ---- signals

    def _attend(self) -> None:
        """Do what signals have asked for, of any rank."""
        request = self._requests.at(self.iteration)
        if request >> 1:
            self.signals.stop = request >> 1
            raise Stop
        if request:
            self.signals.snapshot = 0
            if self.iteration == self._start or not self._snapshot_due():
                self.snapshot()

    # ---- snapshots

    def _snapshot_due(self) -> bool:
        return bool(self.param.snapshot) and self.iteration % self.param.snapshot == 0 and self.iteration > 0

    def _prefix(self) -> Path:
        prefix = self.param.snapshot_prefix
        if not prefix:
            return self.path.with_suffix("")
        return Path(prefix) / self.path.stem if Path(prefix).is_dir() else Path(prefix)

    def snapshot(self) -> None:
        """Write weights, state and what lies beside it (first, so that the state's presence says all is there)."""
        others = self.ranks.gather(self.net.context.seeds.state())
        if self.ranks.rank != 0:
            return
        suffix = ".h5" if self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5 else ""
        prefix = self._prefix()
        stem = f"{prefix.name}_iter_{self.iteration}"
        model = prefix.with_name(f"{stem}.caffemodel{suffix}")
        state = prefix.with_name(f"{stem}.solverstate{suffix}")
        tests = self._before_test or [net.state() for net in self.test_nets]
        train = self.net.state()
        train.update((checkpoint.generators_of(rank), state) for rank, state in enumerate(others) if rank)
        states = [train, *tests]
        checkpoint.write_sidecar(checkpoint.sidecar(state), self.iteration, self.seed, self.net, states)
        self.log(Snapshotting(str(model)))
        write_model(model, self.net)
        self.log(SnapshottingState(str(state)))
        step = step_at(self.param, self.iteration - 1)
        write_state(state, SolverState(self.iteration, str(model), step, self.updater.history()))

    def restore(self, path: str | Path) -> None:
        """Go on from a .solverstate of this engine or of Caffe: weights, history, iteration, data and generators."""
        self.log(Resuming(str(path)))
        state = read_state(path)
        copy_weights(self.net, self._learned_net(state, Path(path)), complete=True)
        self.updater.load_history(state.history, legacy=state.legacy)
        self.iteration = self._start = state.iteration
        saved = checkpoint.read_sidecar(checkpoint.sidecar(path), self.iteration, self.net)
        if saved is None:
            self._seek()
        else:
            self._load_states(saved)
        self._displayed = (self.iteration, time.monotonic())

    def _load_states(self, states: list[dict[str, Any]]) -> None:
        """Continue each net as the sidecar's states say, the train net with this rank's own generators."""
        train, *tests = states
        own = train.get(checkpoint.generators_of(self.ranks.rank), {})
        generators = {name: own.get(name) for name in train.get(checkpoint.GENERATORS, {})} | own
        states = [{**train, checkpoint.GENERATORS: generators}, *tests]
        anew = set()
        for net, state in zip([self.net, *self.test_nets], states, strict=False):
            anew.update(net.load_state(state, self.iteration))
        if anew:
            self.log.info(
                "The snapshot was taken on another kind of device, or by fewer ranks: the random numbers of "
                f"{', '.join(sorted(anew))} begin anew from the seed and the iteration, unlike those without a stop",
                severity="W",
            )

    def _learned_net(self, state: SolverState, path: Path) -> Path:
        """The weights a state names, or those beside it under the state's own name."""
        name = path.name.replace(".solverstate", ".caffemodel")
        candidates = [path.with_name(name), Path(state.learned_net), path.with_name(Path(state.learned_net).name)]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise FerError(f"{path} names the weights {state.learned_net}, which are not there nor beside it")

    def _seek(self) -> None:
        """Put the data to where the finished iterations, and the tests between them, would have brought it."""
        self.log.info(f"Replaying the data of {self.iteration} iterations", "solver.cpp:1")
        self.net.seek(self.iteration * self.param.iter_size)
        interval = self.param.test_interval
        tests = -(-self.iteration // interval) if interval else 0
        if not self.param.test_initialization:
            tests = max(tests - 1, 0)
        for number, net in enumerate(self.test_nets):
            net.seek(tests * self.param.test_iter[number])
