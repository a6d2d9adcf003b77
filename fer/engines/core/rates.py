"""The two numbers that a schedule puts into a solver: the learning rate and Caffe's current_step."""

import numpy as np

from fer.nets.policies import learning_rate
from fer.schema import caffe_pb2


def rate_at(solver: caffe_pb2.SolverParameter, iteration: int) -> float:
    """The learning rate of an iteration, rounded to float32 as Caffe holds it."""
    return float(np.float32(learning_rate(solver, iteration)))


def step_at(solver: caffe_pb2.SolverParameter, iteration: int) -> int:
    """Caffe's current_step once it has asked for the rate of `iteration` (-1: not yet)."""
    if iteration < 0:
        return 0
    if solver.lr_policy == "step":
        return iteration // solver.stepsize
    taken, last = 0, -1
    if solver.lr_policy == "multistep":
        for value in solver.stepvalue:
            last = max(value, last + 1)
            taken += last <= iteration
    return taken
