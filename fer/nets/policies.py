"""Caffe's learning-rate policies: the rate at any iteration, computed before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from fer.errors import FerError, nearest
from fer.schema import caffe_pb2

Solver: TypeAlias = caffe_pb2.SolverParameter

COLLAPSE = 0.01 * (1 - 1e-6)
"""Below this share of its first value a rate teaches nothing more. Two steps of 0.1 are not below 1%, whatever they
round to."""
_LATE_ENOUGH = 0.5  # a fall in the run's second half is how a schedule ends


def _step(solver: Solver, iteration: int) -> float:
    return solver.gamma ** (iteration // solver.stepsize)


def _inv(solver: Solver, iteration: int) -> float:
    rate: float = (1 + solver.gamma * iteration) ** -solver.power
    return rate


def _multistep(solver: Solver, iteration: int) -> float:
    """Caffe takes at most one step an iteration, in the order the values are listed."""
    taken, last = 0, -1
    for value in solver.stepvalue:
        last = max(value, last + 1)
        taken += last <= iteration
    return solver.gamma**taken


def _poly(solver: Solver, iteration: int) -> float:
    left = 1 - iteration / solver.max_iter
    rate: float = max(left, 0.0) ** solver.power
    return rate


def _sigmoid(solver: Solver, iteration: int) -> float:
    exponent = -solver.gamma * (iteration - solver.stepsize)
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0  # exp overflows at 710


# Policy -> share of base_lr at an iteration; and the fields of the solver that each needs.
_POLICIES: dict[str, Callable[[Solver, int], float]] = {
    "fixed": lambda solver, iteration: 1.0,
    "step": _step,
    "exp": lambda solver, iteration: solver.gamma**iteration,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}


def policy_faults(solver: Solver) -> list[tuple[str, str]]:
    """What is wrong with a solver's learning-rate fields: pairs of the field concerned and a sentence."""
    if not solver.HasField("base_lr"):
        return [("base_lr", "base_lr is missing; add for example  base_lr: 0.01")]
    if solver.base_lr < 0 or not math.isfinite(solver.base_lr):
        return [("base_lr", f"base_lr is {solver.base_lr:g}; it must be 0 or more")]
    policy = solver.lr_policy
    if not policy:
        return [("lr_policy", f"lr_policy is missing; there are {', '.join(_POLICIES)}")]
    if policy not in _POLICIES:
        hint = nearest(policy, _POLICIES)
        return [("lr_policy", f"no lr_policy {policy!r}{hint}; there are {', '.join(_POLICIES)}")]
    faults = []
    for name in _NEEDS[policy]:
        if not (solver.stepvalue if name == "stepvalue" else solver.HasField(name)):
            faults.append((name, f"lr_policy {policy!r} needs {name}"))
        elif name in ("stepsize", "max_iter") and getattr(solver, name) <= 0:
            faults.append((name, f"{name} is {getattr(solver, name)}; lr_policy {policy!r} needs 1 or more"))
        elif name == "gamma" and not solver.gamma >= 0:
            faults.append((name, f"gamma is {solver.gamma:g}; lr_policy {policy!r} needs 0 or more"))
    return faults


def learning_rate(solver: Solver, iteration: int) -> float:
    """The learning rate that Caffe uses at `iteration` (from 0), by the solver's lr_policy.

    Raises FerError for an unknown policy or one whose fields are missing or out of range.
    """
    if faults := policy_faults(solver):
        raise FerError("; ".join(sentence for _, sentence in faults))
    try:
        return solver.base_lr * _POLICIES[solver.lr_policy](solver, iteration)
    except (OverflowError, ZeroDivisionError):  # what C++ calls infinity
        return math.inf


def early_collapse(solver: Solver) -> str | None:
    """One line if the rate falls below 1% of base_lr in the first half of the run, else None.

    Every policy is monotone, so the first such iteration is found by bisection.
    """
    base, last = solver.base_lr, solver.max_iter - 1
    threshold = COLLAPSE * base
    if base <= 0 or last < 1 or learning_rate(solver, 0) < threshold or learning_rate(solver, last) >= threshold:
        return None
    above, below = 0, last
    while below - above > 1:
        middle = (above + below) // 2
        if learning_rate(solver, middle) < threshold:
            below = middle
        else:
            above = middle
    if below >= _LATE_ENOUGH * solver.max_iter:
        return None
    return f"lr falls below 1% of base_lr after {below:,} of {solver.max_iter:,} iterations"
