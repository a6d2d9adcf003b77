"""Learning rates against closed formulas and the real Caffe; the warning of an early collapse."""

import json
import math
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer.errors import FerError
from fer.formats.prototxt import to_text
from fer.nets.policies import early_collapse, learning_rate
from fer.schema.caffe_pb2 import SolverParameter

SCHEDULES: dict[str, dict[str, Any]] = {
    "fixed": {"lr_policy": "fixed"},
    "step": {"lr_policy": "step", "gamma": 0.5, "stepsize": 7},
    "exp": {"lr_policy": "exp", "gamma": 0.97},
    "inv": {"lr_policy": "inv", "gamma": 0.01, "power": 0.75},
    "multistep": {"lr_policy": "multistep", "gamma": 0.1, "stepvalue": [5, 11, 30]},
    "multistep unordered": {"lr_policy": "multistep", "gamma": 0.5, "stepvalue": [9, 4, 4, 20]},
    "poly": {"lr_policy": "poly", "power": 1.5},
    "sigmoid": {"lr_policy": "sigmoid", "gamma": 0.3, "stepsize": 15},
}
FORMULAS: dict[str, Callable[[int], float]] = {
    "fixed": lambda i: 1,
    "step": lambda i: 0.5 ** math.floor(i / 7),
    "exp": lambda i: math.exp(i * math.log(0.97)),
    "inv": lambda i: 1 / math.pow(1 + 0.01 * i, 0.75),
    "multistep": lambda i: 10.0 ** -((i >= 5) + (i >= 11) + (i >= 30)),
    # One step an iteration, in the order listed: the second and third value wait for the first.
    "multistep unordered": lambda i: 0.5 ** ((i >= 9) + (i >= 10) + (i >= 11) + (i >= 20)),
    "poly": lambda i: (1 - i / 40) ** 1.5,
    "sigmoid": lambda i: 0.5 * (1 + math.tanh(0.3 * (i - 15) / 2)),
}


def solver(name: str, **more: Any) -> SolverParameter:
    return SolverParameter(**{"base_lr": 0.05, "max_iter": 40, **SCHEDULES[name], **more})


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_follow_the_formula(name: str) -> None:
    for iteration in range(40):
        expected = 0.05 * FORMULAS[name](iteration)
        assert learning_rate(solver(name), iteration) == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.full
def test_rates_are_the_real_caffes() -> None:
    from fer.engines.interpreter import find_caffe

    script = """
import json, sys, tempfile
import caffe
for name, text in json.load(sys.stdin).items():
    print("schedule", name, file=sys.stderr, flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text)
        file.flush()
        caffe.get_solver(file.name).step(40)
"""
    net = """
net_param {
  layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 dim: 1 } } }
  layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 1 } }
  layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "data" top: "loss" }
}
solver_mode: CPU display: 1 snapshot_after_train: false
"""
    texts = {name: to_text(solver(name)) + net for name in SCHEDULES}
    found = find_caffe()
    answer = subprocess.run(
        [str(found.python), "-c", script],
        input=json.dumps(texts), capture_output=True, text=True, check=True,
        env={**found.environment, "GLOG_minloglevel": "0", "GLOG_logtostderr": "1"},
    )  # fmt: skip
    parts = answer.stderr.split("schedule ")[1:]
    assert len(parts) == len(SCHEDULES)
    for part in parts:
        name = part.splitlines()[0]
        rates = {int(i): float(rate) for i, rate in re.findall(r"Iteration (\d+), lr = (\S+)", part)}
        ours = {iteration: learning_rate(solver(name), iteration) for iteration in range(40)}
        assert rates == pytest.approx(ours, rel=1e-5, abs=1e-12), name  # the log has six digits


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "base_lr is missing"),
        ({"base_lr": -1}, "base_lr is -1"),
        ({"base_lr": 1}, "lr_policy is missing; there are fixed, step"),
        ({"base_lr": 1, "lr_policy": "stpe"}, r"no lr_policy 'stpe' \(did you mean step\?\)"),
        ({"base_lr": 1, "lr_policy": "step"}, "needs gamma; lr_policy 'step' needs stepsize"),
        ({"base_lr": 1, "lr_policy": "step", "gamma": 0.1, "stepsize": 0}, "stepsize is 0"),
        ({"base_lr": 1, "lr_policy": "exp", "gamma": -0.1}, "gamma is -0.1"),
        ({"base_lr": 1, "lr_policy": "inv", "gamma": 0.1}, "needs power"),
        ({"base_lr": 1, "lr_policy": "multistep", "gamma": 0.1}, "needs stepvalue"),
        ({"base_lr": 1, "lr_policy": "poly", "power": 1}, "needs max_iter"),
        ({"base_lr": math.nan, "lr_policy": "fixed"}, "base_lr is nan"),
    ],
)
def test_bad_fields_say_what_is_missing(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(FerError, match=reason):
        learning_rate(SolverParameter(**fields), 0)


def test_rates_beyond_all_bounds_are_infinite() -> None:
    growing = SolverParameter(base_lr=1, lr_policy="exp", gamma=2, max_iter=100000)
    assert learning_rate(growing, 90000) == math.inf
    assert early_collapse(growing) is None
    assert learning_rate(SolverParameter(base_lr=1, lr_policy="poly", power=-1, max_iter=9), 9) == math.inf


def test_early_collapse_of_the_lesson() -> None:
    s1 = SolverParameter(base_lr=0.01, lr_policy="step", gamma=0.1, stepsize=40, max_iter=10000)
    assert early_collapse(s1) == "lr falls below 1% of base_lr after 120 of 10,000 iterations"


@pytest.mark.parametrize(
    "fields",
    [
        {"lr_policy": "fixed"},
        {"lr_policy": "step", "gamma": 0.1, "stepsize": 2000},  # 1% exactly is not below
        {"lr_policy": "poly", "power": 1},
        {"lr_policy": "inv", "gamma": 0.0001, "power": 0.75},
        {"lr_policy": "multistep", "gamma": 0.1, "stepvalue": [2000, 3500, 4500]},
        {"lr_policy": "sigmoid", "gamma": 0.1, "stepsize": 100},
        {"lr_policy": "step", "gamma": 2, "stepsize": 100},
    ],
)
def test_no_alarm_for_sound_schedules(fields: dict[str, Any]) -> None:
    assert early_collapse(SolverParameter(base_lr=0.01, max_iter=5000, **fields)) is None


def test_no_alarm_for_a_rate_of_zero_or_one_iteration() -> None:
    assert early_collapse(SolverParameter(base_lr=0, lr_policy="fixed", max_iter=100)) is None
    assert early_collapse(SolverParameter(base_lr=1, lr_policy="step", gamma=0.1, stepsize=1, max_iter=1)) is None


@given(st.floats(0.0078125, 0.984375, width=32), st.integers(1, 300), st.integers(2, 2000))
def test_the_collapse_named_is_the_first(gamma: float, stepsize: int, max_iter: int) -> None:
    fields = SolverParameter(base_lr=0.01, lr_policy="step", gamma=gamma, stepsize=stepsize, max_iter=max_iter)
    limit = 0.01 * fields.base_lr * (1 - 1e-6)
    first = next((i for i in range(max_iter) if learning_rate(fields, i) < limit), max_iter)
    warning = early_collapse(fields)
    assert (warning is not None) == (first < max_iter / 2)
    if warning:
        assert f"after {first:,} of {max_iter:,} iterations" in warning
