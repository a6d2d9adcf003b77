"""What a training is told in place of its prototxts' own numbers, and what that means for the rest of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fer.errors import FerError, UsageError
from fer.nets.policies import learning_rate, policy_faults
from fer.nets.states import State, taking_part
from fer.schema import caffe_pb2
from fer.system.plural import counted

_WITH_BATCH = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param", "memory_data_param")
_MAX_ITER = 2**31 - 1
ENDS = ("max_iter", "epochs")
"""Of which one is given at most."""


@dataclass(frozen=True)
class Overrides:
    """Each in the place of the solver's or the net's own, None where that stays.

    max_iter    when the training ends; or else epochs, whose images are counted over iter_size and all GPUs
    lr          base_lr, which every lr_policy multiplies
    batch_size  of the net's data layers in training: the images of one pass on one GPU. Tests keep theirs, as
                test_iter goes with it
    Nothing else is scaled with them: not stepvalue, stepsize, nor the rate with the batch.
    """

    max_iter: int | None = None
    epochs: float | None = None
    lr: float | None = None
    batch_size: int | None = None

    @property
    def given(self) -> dict[str, float]:
        """What is given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def changed(self, solver: caffe_pb2.SolverParameter) -> caffe_pb2.SolverParameter:
        """The solver with what does not need the data to be known."""
        copy = caffe_pb2.SolverParameter()
        copy.CopyFrom(solver)
        if self.max_iter is not None:
            copy.max_iter = self.max_iter
        elif self.epochs is not None and not copy.HasField("max_iter"):
            copy.max_iter = 1  # until the data are known
        if self.lr is not None:
            copy.base_lr = self.lr
        return copy

    def changed_net(self, net: caffe_pb2.NetParameter, state: State) -> caffe_pb2.NetParameter:
        """The net with the batch of the layers that feed a training. Raises FerError where no layer has one."""
        if self.batch_size is None:
            return net
        copy = caffe_pb2.NetParameter()
        copy.CopyFrom(net)
        found = list(_batches(copy, state))
        if not found:
            raise FerError("--batch-size: no layer of this net has a batch_size in training")
        for param in found:
            param.batch_size = self.batch_size
        return copy

    def end(self, images_per_iteration: int, images_per_epoch: int | None) -> int | None:
        """max_iter of so many epochs, None where none are given; the last iteration is whole.

        Raises UsageError where the images of an epoch or an iteration are not known, or Caffe cannot count so far.
        """
        if self.epochs is None:
            return None
        if not images_per_iteration or not images_per_epoch:
            raise UsageError("--epochs: it is not known how many images this net's data hold: give --max-iter")
        iterations = math.ceil(self.epochs * images_per_epoch / images_per_iteration)
        if iterations > _MAX_ITER:
            raise UsageError(f"--epochs {self.epochs:g} are {iterations:,} iterations; Caffe counts to {_MAX_ITER:,}")
        return iterations

    def remarks(
        self,
        before: caffe_pb2.SolverParameter,
        after: caffe_pb2.SolverParameter,
        images_per_iteration: int,
        images_per_epoch: int,
    ) -> Iterator[str]:
        """What a person may not expect of it, a line each."""
        if self.epochs is not None:
            yield (
                f"--epochs {self.epochs:g}: max_iter {after.max_iter:,} "
                f"({counted(images_per_iteration, 'image')} an iteration, {images_per_epoch:,} an epoch)"
            )
        if self.batch_size is not None and self.lr is None:
            yield f"--batch-size {self.batch_size}: base_lr stays {after.base_lr:g}, which is not scaled with it (--lr)"
        if after.max_iter != before.max_iter and not policy_faults(before) and before.max_iter > 0:
            yield from _unscaled_schedule(before, after)


def _unscaled_schedule(before: caffe_pb2.SolverParameter, after: caffe_pb2.SolverParameter) -> Iterator[str]:
    """That the rate ends elsewhere than the solver's own schedule does, which is not stretched."""
    meant = learning_rate(before, before.max_iter - 1) / max(before.base_lr, 1e-30)
    reached = learning_rate(after, after.max_iter - 1) / max(after.base_lr, 1e-30)
    if reached > 2 * meant:
        yield (
            f"lr_policy {after.lr_policy!r} is not scaled with max_iter: the rate ends at {_percent(reached)} of "
            f"base_lr, where the solver's {before.max_iter:,} iterations bring it to {_percent(meant)}"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _batches(net: caffe_pb2.NetParameter, state: State) -> Iterator[caffe_pb2.DataParameter]:
    for position in taking_part(net, state):
        for name in _WITH_BATCH:
            if net.layer[position].HasField(name) and getattr(net.layer[position], name).batch_size:
                yield getattr(net.layer[position], name)
