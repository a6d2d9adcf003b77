"""Cosine and warm-up as Caffe's own policies: how near they come, and what real Caffe makes of them."""

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import training
from hypothesis import given
from hypothesis import strategies as st

from fer import cli
from fer.errors import FerError
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.nets.policies import early_collapse, learning_rate, policy_faults
from fer.nets.schedules import cosine, warm_up
from fer.nets.solver_lint import lint_solver
from fer.nets.zoo import find_net, find_solver
from fer.schema import caffe_pb2
from fer.training.run_prototxts import net_for_run, solver_for_run


def solver(base_lr: float = 0.05, max_iter: int = 27_000) -> caffe_pb2.SolverParameter:
    made = read_solver(find_solver("vgg8", "s1"))
    made.base_lr, made.max_iter = base_lr, max_iter
    return made


@given(st.floats(1e-4, 1), st.integers(8_000, 200_000), st.sampled_from([0.5, 0.8, 0.9]), st.data())
def test_the_staircase_is_never_half_a_step_from_the_cosine(
    base_lr: float, max_iter: int, gamma: float, data: st.DataObject
) -> None:
    made = cosine(solver(base_lr, max_iter), gamma)
    assert policy_faults(made) == [] and early_collapse(made) is None
    iteration = data.draw(st.integers(0, max_iter - 1))
    wanted, rate = base_lr * (1 + math.cos(math.pi * iteration / max_iter)) / 2, learning_rate(made, iteration)
    if wanted >= 0.001 * base_lr:
        assert math.sqrt(gamma) * (1 - 1e-3) <= rate / wanted <= (1 + 1e-3) / math.sqrt(gamma)
    else:
        assert rate <= 0.0015 * base_lr


def test_a_cosine_without_room_for_its_steps_is_refused() -> None:
    with pytest.raises(FerError, match="too short for a cosine"):
        cosine(solver(max_iter=100))


@given(st.floats(1e-4, 1), st.integers(1, 10_000), st.data())
def test_a_warm_up_rises_in_a_straight_line(base_lr: float, iterations: int, data: st.DataObject) -> None:
    made = warm_up(solver(base_lr), iterations)
    iteration = data.draw(st.integers(0, iterations - 1))
    assert learning_rate(made, iteration) == pytest.approx(base_lr * (iteration + 1) / iterations, rel=1e-6)
    assert (made.max_iter, made.snapshot) == (iterations, iterations)


def test_the_rest_of_the_solver_stays() -> None:
    before = solver()
    for made in (cosine(before), warm_up(before, 450)):
        assert made.type == "Nesterov" and made.weight_decay == before.weight_decay
        assert made.momentum == before.momentum and made.test_interval == before.test_interval
        assert not (made.HasField("power") and made.lr_policy != "inv") and not made.HasField("stepsize")
    assert before == solver(), "the one given is left alone"


def test_the_command_writes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["schedule", "cosine.prototxt", "--net", "vgg8", "--solver", "s1", "--cosine"]) == 0
    assert "Next: fer train --net vgg8 --solver cosine.prototxt" in capsys.readouterr().out
    made = read_solver(tmp_path / "cosine.prototxt")
    assert made == cosine(made) and lint_solver(made, tmp_path / "cosine.prototxt") == []
    assert Path(made.net) == find_net("vgg8")
    assert cli.main(["schedule", "w.prototxt", "--net", "vgg8", "--solver", "cosine.prototxt", "--warm-up", "9"]) == 0
    made.snapshot_prefix = "w"
    assert read_solver(tmp_path / "w.prototxt") == warm_up(made, 9)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["solver.prototxt", "--cosine"], 2, "is the solver itself"),
        (["net.prototxt", "--net", "net.prototxt", "--cosine"], 2, "is the net itself"),
        (["out.prototxt", "--cosine", "--max-iter", "50"], 1, "too short"),
        (["out.prototxt"], 2, "--cosine --warm-up is required"),
        (["out.prototxt", "--cosine", "--warm-up", "3"], 2, "not allowed with"),
        (["nowhere/out.prototxt", "--cosine"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text("solver.prototxt", solver())
    shutil.copy(find_net("vgg8"), "net.prototxt")
    before = [Path(name).read_bytes() for name in ("net.prototxt", "solver.prototxt")]
    assert cli.main(["schedule", "--net", "vgg8", "--solver", "solver.prototxt", *arguments]) == code
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.prototxt", "solver.prototxt"]
    assert [Path(name).read_bytes() for name in ("net.prototxt", "solver.prototxt")] == before


@pytest.mark.full
@pytest.mark.parametrize("kind", ["cosine", "warm-up"])
def test_real_caffe_trains_at_these_rates(kind: str, random_data: Callable[[int], Path]) -> None:
    engine = training.real_caffe()
    folder = random_data(48)
    net = net_for_run(read_net(find_net("lenet")), folder)
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = 7
    write_text(folder / "train_val.prototxt", net)
    wanted = read_solver(find_solver("lenet", "s2"))
    wanted.max_iter = 8_000
    wanted = solver_for_run(cosine(wanted) if kind == "cosine" else warm_up(wanted, 12), snapshot_prefix="s", seed=1)
    if kind == "cosine":  # its steps lie hundreds of iterations apart: brought together
        wanted.stepvalue[:] = range(2, 2 + len(wanted.stepvalue))
    wanted.display, wanted.max_iter, wanted.test_initialization, wanted.test_interval = 1, 12, False, 1000
    wanted.test_iter[:] = [1]
    write_text(folder / "solver.prototxt", wanted)
    argv = [*engine.command, "train", "--solver", "solver.prototxt"]
    child = subprocess.run(argv, cwd=folder, env=dict(engine.environment), capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-2000:]
    rates = {int(i): float(lr) for i, lr in re.findall(r"Iteration (\d+), lr = (\S+)", child.stderr)}
    assert set(rates) == set(range(12))
    for iteration, rate in rates.items():
        assert rate == pytest.approx(learning_rate(wanted, iteration), rel=1e-5), iteration
