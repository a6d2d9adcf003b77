"""Caffe's Solver: train, test, display, snapshot, in its order and with its lines."""

import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from fer.engines.caffe.ipc import Odometer
from fer.engines.core.ema import decay_at
from fer.engines.core.framework import Backend, Net, NetState, Value
from fer.engines.core.log import Log
from fer.engines.core.net_log import log_net
from fer.engines.core.rates import rate_at, step_at
from fer.engines.core.rules import check_rule
from fer.engines.core.seeds import new_seed
from fer.engines.core.sidecar import read_seed, sidecar
from fer.engines.core.signals import Requests, Signals
from fer.engines.core.snapshots import Snapshots, Trained
from fer.engines.core.sources import NetSource, test_sources, train_source
from fer.engines.core.weights import copy_weights
from fer.errors import FerError
from fer.formats.hdf5 import need_hdf5
from fer.formats.log_lines import (
    Done,
    Iteration,
    Lr,
    Policy,
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

MANY_OUTPUTS = 100  # a net may have a million: those after these are not waited for once a signal came


class Stop(Exception):  # no error: the way out of the loop when a signal asked for it
    """Raised between iterations, where the solver's state is exactly "N iterations done"."""


class Solver:
    """A training: the nets, the update rule, and how many iterations are done."""

    def __init__(
        self,
        param: caffe_pb2.SolverParameter,
        path: str | Path,
        backend: Backend,
        log: Log | None = None,
        signals: Signals | None = None,
        *,
        snapshot: str | Path | None = None,
        weights: Sequence[str | Path] = (),
        ema: float | None = None,
    ):
        """Set the nets up, then resume from `snapshot` or start from `weights`. `path` is the solver's own file.

        `ema`: the decay of an exponential average of the weights that is kept, and saved with each snapshot.
        """
        self.param = param
        self.path = Path(path)
        self.backend, self.ranks = backend, backend.ranks
        self.log, self.signals = log or Log(), signals or Signals()
        self.iteration = self._start = 0
        self._decay = ema
        self._check()
        backend.set_up()
        self.seed = self._choose_seed(snapshot)
        self.log.info(f"Initializing solver from parameters: \n{to_text(param)}", "solver.cpp:45")
        self.net = self._train_net()
        self.training = backend.training(self.net, param, self.log)
        self.test_nets = self._test_nets() if self.ranks.rank == 0 else []
        self.log.info("Solver scaffolding done.", "solver.cpp:57")
        self._losses: deque[Value] = deque(maxlen=param.average_loss)
        self._before_test: list[NetState] | None = None
        self._displayed = (0, time.monotonic())
        self._requests = Requests(self.signals, self.ranks)
        self._odometer = Odometer() if self.ranks.rank == 0 else None
        # Every rank has the same weights.
        self._ema = self.training.ema() if ema is not None and self.ranks.rank == 0 else None
        trained = Trained(self.net, self.test_nets, self.training, self.ranks, self.seed, self._ema)
        self._snapshots = Snapshots(param, self.path, trained, self.log)
        if snapshot and weights:
            raise FerError("Give a snapshot to resume training or weights to finetune but not both.")
        if snapshot:
            self.restore(snapshot)
        for name in weights:
            self._take_weights(name)

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
        check_rule(self.param)
        if self._decay is not None and not 0 < self._decay < 1:
            raise FerError(f"--ema is {self._decay:g}; it must be over 0 and less than 1")
        if self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5:
            need_hdf5(f"{self.path}: snapshot_format")
        if self.param.snapshot or self.param.snapshot_after_train:
            prefix = Snapshots.prefix(self.param, self.path)
            folder = prefix.parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FerError(f"snapshot_prefix: cannot make {folder}: {error.strerror}") from error
            if not os.access(folder, os.W_OK):
                raise FerError(f"Cannot write to snapshot prefix '{prefix}': {folder} is not writable")

    def _choose_seed(self, snapshot: str | Path | None) -> int:
        """random_seed; where that is left to chance, the seed of the run that is resumed, and every rank's the same."""
        seed = self.param.random_seed
        if seed < 0:
            saved = read_seed(sidecar(snapshot)) if snapshot else None
            seed = new_seed() if saved is None else saved
        return self.ranks.agree(seed if self.ranks.rank == 0 else 0)[0]

    def _build(self, source: NetSource, scope: str) -> Net:
        net = self.backend.net(source.proto, source.state, path=source.path, seed=self.seed, scope=scope)
        log_net(self.log, net)
        return net

    def _train_net(self) -> Net:
        source = train_source(self.param, self.path)
        self.log.info(f"Creating training net {source.text}", "solver.cpp:102")
        rank = self.ranks.rank
        net = self._build(source, f"train/{rank}" if rank else "train")
        net.run_lean()
        return net

    def _test_nets(self) -> list[Net]:
        nets = []
        for number, source in enumerate(test_sources(self.param, self.path)):
            self.log.info(f"Creating test net (#{number}) specified by {source.text}", "solver.cpp:190")
            net = self._build(source, f"test{number}")
            net.share(self.net)
            net.run_lean()
            nets.append(net)
        return nets

    def _take_weights(self, path: str | Path) -> None:
        self.log.info(f"Finetuning from {path}", "caffe.cpp:155")
        copy_weights(self.net, path)
        for net in self.test_nets:
            if set(net.blob_shapes) - set(self.net.blob_shapes):  # the rest they share
                copy_weights(net, path)
        if self._ema:
            self._ema.take(0)

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
            if self._odometer:
                self._odometer.show(self.iteration)
            self._before_test = None
            if self._snapshot_due():
                self.snapshot()

    def _iterate(self) -> None:
        """One update of the parameters, with the lines that belong to it."""
        param, training = self.param, self.training
        display = bool(param.display) and self.iteration % param.display == 0
        training.clear()
        loss = training.run_pass()
        for _ in range(param.iter_size - 1):
            loss = loss + training.run_pass()
        self._losses.append(loss / param.iter_size if param.iter_size > 1 else loss)
        if display:
            self._display()
        training.average_gradients()
        rate = rate_at(param, self.iteration)
        step = step_at(param, self.iteration)
        if param.lr_policy == "multistep" and step > step_at(param, self.iteration - 1):
            self.log(Step(self.iteration, step))
        if display:
            self.log(Lr(self.iteration, rate))
        norm = training.update(self.iteration, rate)
        if self._ema and self._decay is not None:
            self._ema.take(decay_at(self._decay, self.iteration))
        if norm is not None:
            limit = param.clip_gradients
            self.log.info(
                f"Gradient clipping: scaling down gradients (L2 norm {norm:.6g} > {limit:.6g}) "
                f"by scale factor {limit / norm:.6g}",
                "sgd_solver.cpp:94",
            )

    def _display(self) -> None:
        loss, outputs = self.training.mean(self._losses), self.training.outputs()
        iteration, then = self._displayed
        now = time.monotonic()
        self._displayed = (self.iteration, now)
        elapsed = now - then
        rate = (self.iteration - iteration) / (elapsed or 1.0)
        self.log(Iteration(self.iteration, loss, rate, elapsed, self.param.display))
        index = 0
        for (name, weight), values in zip(self.net.outputs, outputs, strict=True):
            for value in values.ravel().tolist():
                if index >= MANY_OUTPUTS and self.signals.stop:
                    return
                self.log(TrainOutput(index, name, value, weight))
                index += 1

    def _finish(self) -> None:
        """The loss after the last update, and a last test, where display and test_interval fall on the end."""
        if self.param.display and self.iteration % self.param.display == 0:
            self._losses.append(self.net.evaluate()[0])
            self.log(Iteration(self.iteration, self.training.mean(self._losses)))
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
        total: list[Value] = []
        loss: Value = None
        for _ in range(batches):
            if self.signals.stop and self.ranks.alone:
                raise Stop
            batch_loss, outputs = net.evaluate()
            loss = batch_loss if loss is None else loss + batch_loss
            total = [a + b for a, b in zip(total, outputs, strict=True)] if total else outputs
        if self.param.test_compute_loss and loss is not None:
            self.log(TestLoss(float(net.host(loss)) / batches))
        index = 0
        for (name, weight), values in zip(net.outputs, total, strict=True):
            for value in net.host(values / batches).ravel().tolist():
                if index >= MANY_OUTPUTS and self.signals.stop:
                    return
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

    def snapshot(self) -> None:
        """Write weights and state; every rank calls it."""
        self._snapshots.take(self.iteration, self._before_test)

    def restore(self, path: str | Path) -> None:
        """Go on from a .solverstate of this engine or of Caffe: weights, history, iteration, data and generators."""
        self.iteration = self._start = self._snapshots.restore(path)
        self._displayed = (self.iteration, time.monotonic())
