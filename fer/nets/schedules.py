"""Schedules that Caffe has no lr_policy for, put in terms of those it has: cosine as a staircase, warm-up as a leg."""

import math

from fer.errors import FerError
from fer.schema import caffe_pb2

_FIELDS = ("gamma", "power", "stepsize", "stepvalue", "lr_policy")
_LAST_STEP = 0.001  # of base_lr; nearer to 0 a cosine's steps would be iterations apart


def cosine(solver: caffe_pb2.SolverParameter, gamma: float = 0.9) -> caffe_pb2.SolverParameter:
    """The solver with half a cosine from base_lr to 0 over max_iter, as `multistep`.

    Steps of `gamma` lie where base_lr * (1 + cos(pi * iteration / max_iter)) / 2 (Loshchilov and Hutter 2017) is half
    a step away, so that the rate is never further from it than sqrt(gamma), down to 1/1000 of base_lr, where it stays.
    Raises FerError for a max_iter that has no room for the steps.
    """
    steps = round(math.log(_LAST_STEP) / math.log(gamma))
    shares = [gamma ** (step - 0.5) for step in range(1, steps + 1)]
    values = [math.ceil(solver.max_iter / math.pi * math.acos(2 * share - 1)) for share in shares]
    if len(set(values)) < len(values):
        raise FerError(f"max_iter {solver.max_iter:,} is too short for a cosine of {steps} steps")
    changed = _without_policy(solver)
    changed.lr_policy, changed.gamma = "multistep", gamma
    changed.stepvalue[:] = values
    return changed


def warm_up(solver: caffe_pb2.SolverParameter, iterations: int) -> caffe_pb2.SolverParameter:
    """A solver of `iterations` whose rate rises in a straight line to base_lr: `inv` of power -1.

    Its weights are what the training proper starts from (`--weights`), as no policy of Caffe's rises and then falls.
    """
    changed = _without_policy(solver)
    changed.base_lr, changed.lr_policy, changed.gamma, changed.power = solver.base_lr / iterations, "inv", 1, -1
    changed.max_iter = changed.snapshot = iterations
    return changed


def _without_policy(solver: caffe_pb2.SolverParameter) -> caffe_pb2.SolverParameter:
    copy = caffe_pb2.SolverParameter()
    copy.CopyFrom(solver)
    for field in _FIELDS:
        copy.ClearField(field)
    return copy
