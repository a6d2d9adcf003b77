"""Every committed net and solver: it parses, lints clean, its deploy matches, it covers val, real Caffe trains it."""

import re
import subprocess
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import training

from fer.formats.prototxt import read_net, read_solver, solver_net_path, write_text
from fer.nets.deploy import derive_deploy
from fer.nets.lint import lint_net
from fer.nets.policies import early_collapse, learning_rate
from fer.nets.shapes import infer_shapes
from fer.nets.solver_lint import lint_solver
from fer.nets.states import State, data_layers, filter_net, train_state
from fer.nets.zoo import NETS, find_net, find_solver, net_names, solver_names
from fer.schema import caffe_pb2
from fer.training.run_prototxts import net_for_run, solver_for_run

PUBLIC_TEST = 3589
SIDES = {"alexnet227": 256}  # height and width of the images a net wants, where not 48
PAIRS = [(net, solver) for net in net_names() for solver in solver_names(find_net(net))]


def side(net: str) -> int:
    return SIDES.get(net, 48)


def deploy_of(net_name: str) -> Path:
    return find_net(net_name).with_name("deploy.prototxt")


def normalised(net_name: str) -> bool:
    """Whether the net has a BatchNorm, which the Caffe of the wheel does not train and `fer` refuses to try."""
    return any(layer.type == "BatchNorm" for layer in read_net(find_net(net_name)).layer)


def test_the_nets_and_solvers_that_are_promised() -> None:
    assert set(PAIRS) == {
        ("googlenet", "s1"), ("tang", "s1"),
        *(
            (net, solver)
            for net in ("lenet", "alexnetbn", "googlenetbn", "vgg8", "vgg13", "resnet18", "resnet18h")
            for solver in ("s1", "s2")
        ),
        *((net, solver) for net in ("alexnet", "alexnet227") for solver in ("s1", "s2", "s3")),
    }  # fmt: skip
    assert sorted(path.name for path in NETS.iterdir()) == ["README.md", *net_names()]


@pytest.mark.parametrize(("net_name", "solver_name"), PAIRS)
def test_net_and_solver(net_name: str, solver_name: str) -> None:
    path = find_net(net_name)
    solver_path = find_solver(net_name, solver_name)
    net, solver = read_net(path), read_solver(solver_path)
    assert lint_net(net, path, states=[train_state(solver), State("TEST")]) == []
    assert lint_solver(solver, solver_path) == []
    assert len(data_layers(net, train_state(solver))) == 1
    # The files run as they are from the repository root.
    assert NETS.parent / solver.net == path
    assert solver_net_path(solver, NETS.parent / "solver.prototxt").resolve() == path
    assert solver.snapshot_prefix == f"data/{net_name}_{solver_name}"
    assert solver.solver_mode == caffe_pb2.SolverParameter.CPU and not solver.HasField("random_seed")
    for layer in net.layer:
        if layer.type == "Data":
            folder = "fer2013" if side(net_name) == 48 else f"fer2013-{side(net_name)}"
            assert layer.transform_param.mean_file == f"data/{folder}/mean.binaryproto"
            assert re.fullmatch(rf"data/{folder}/(train|val)_lmdb", layer.data_param.source)
            assert layer.data_param.backend == caffe_pb2.DataParameter.LMDB
    # What is shown and what is tested share their iterations, so that curves have points in common.
    assert solver.test_interval % solver.display == 0
    assert solver.max_iter % solver.snapshot == solver.max_iter % solver.test_interval == 0
    assert solver.snapshot % solver.test_interval == 0


@pytest.mark.parametrize(("net_name", "solver_name"), PAIRS)
def test_a_test_covers_val_exactly(net_name: str, solver_name: str) -> None:
    (layer,) = data_layers(read_net(find_net(net_name)), State("TEST"))
    (iterations,) = read_solver(find_solver(net_name, solver_name)).test_iter
    assert layer.data_param.batch_size * iterations == PUBLIC_TEST
    assert not layer.transform_param.mirror


@pytest.mark.parametrize(
    ("net_name", "solver_name", "batch", "gamma", "max_iter"),
    [
        ("alexnet", "s1", 100, 0.1, 50000),
        ("alexnet", "s2", 256, 0.1, 50000),
        ("alexnet", "s3", 100, 0.95, 50000),
        ("alexnet227", "s1", 100, 0.1, 50000),
        ("alexnet227", "s2", 256, 0.1, 50000),
        ("alexnet227", "s3", 100, 0.95, 50000),
        ("lenet", "s1", 64, 0.1, 10000),
    ],
)
def test_solvers_are_those_of_the_project(
    net_name: str, solver_name: str, batch: int, gamma: float, max_iter: int
) -> None:
    solver = read_solver(find_solver(net_name, solver_name))
    (layer,) = data_layers(read_net(find_net(net_name)), train_state(solver))
    assert layer.data_param.batch_size == batch
    assert (solver.lr_policy, solver.max_iter) == ("step", max_iter)
    assert solver.gamma == pytest.approx(gamma)


def test_only_the_lesson_collapses() -> None:
    warned = {pair for pair in PAIRS if early_collapse(read_solver(find_solver(*pair)))}
    assert warned == {("lenet", "s1")}
    solver = read_solver(find_solver("lenet", "s1"))
    assert learning_rate(solver, 100) < 0.02 * solver.base_lr


@pytest.mark.parametrize("net_name", net_names())
def test_deploy_matches(net_name: str) -> None:
    net, deploy = read_net(find_net(net_name)), read_net(deploy_of(net_name))
    assert derive_deploy(net, (1, side(net_name), side(net_name))) == deploy
    assert lint_net(deploy, deploy_of(net_name)) == []
    tested = infer_shapes(filter_net(net, State("TEST")), (1, side(net_name), side(net_name)))
    shapes = infer_shapes(deploy)
    assert shapes.params == tested.params
    assert shapes.blobs["prob"] == (1, 7)


@pytest.mark.parametrize("net_name", net_names())
def test_readme_tells_the_computed_sizes(net_name: str) -> None:
    """A row of the README's table for each layer with parameters or pooling: output, parameters, multiply-adds.

    Layers called a, a/b, a/c share a row: they are parts of one.
    """
    text = (NETS / net_name / "README.md").read_text(encoding="utf-8")
    deploy = read_net(deploy_of(net_name))
    shapes = infer_shapes(deploy)
    for name, parts in groupby(deploy.layer, key=lambda layer: layer.name.partition("/")[0]):
        layers = list(parts)
        if any(layer.name in shapes.params or layer.type == "Pooling" for layer in layers):
            output = " x ".join(str(size) for size in shapes.blobs[layers[-1].top[0]][1:])
            numbers = sum(int(np.prod(shape)) for layer in layers for shape in shapes.params.get(layer.name, []))
            row = f"| {output} | {numbers:,} | {sum(shapes.multiply_adds[layer.name] for layer in layers):,} |"
            assert re.search(rf"^\| {re.escape(name)} \| [^|]+ {re.escape(row)}$", text, re.MULTILINE), (name, row)
    assert f"| {shapes.param_count:,} | {sum(shapes.multiply_adds.values()):,} |" in text
    for solver in solver_names(find_net(net_name)):
        assert f"`{solver}`" in text


# ---- with the real Caffe ---------------------------------------------------------------------------------------------


def small_batches(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = 7
    return net


@pytest.mark.full
@pytest.mark.parametrize("net_name", net_names())
def test_shapes_are_the_real_caffes(net_name: str, random_data: Callable[[int], Path]) -> None:
    from fer.engines.registry import find_engine

    engine = find_engine("caffe")
    folder = random_data(side(net_name))
    net = small_batches(net_for_run(read_net(find_net(net_name)), folder))
    write_text(folder / "net.prototxt", net)
    stages = train_state(read_solver(find_solver(net_name, "s1"))).stages
    for phase, path in (("TRAIN", folder / "net.prototxt"), ("TEST", deploy_of(net_name))):
        if phase == "TRAIN" and normalised(net_name):
            continue
        theirs = engine.describe(path, State(phase, stages))
        ours = infer_shapes(filter_net(read_net(path), State(phase, stages)), (1, side(net_name), side(net_name)))
        assert {name: [tuple(shape) for shape in shapes] for name, shapes in theirs["params"].items()} == ours.params
        for name, shape in theirs["blobs"].items():
            if "_split_" not in name:
                assert tuple(shape) == ours.blobs[name], name


@pytest.mark.full
@pytest.mark.parametrize(("net_name", "solver_name"), [pair for pair in PAIRS if not normalised(pair[0])])
def test_real_caffe_trains_one_step(net_name: str, solver_name: str, random_data: Callable[[int], Path]) -> None:
    engine = training.real_caffe()
    folder = random_data(side(net_name))
    write_text(folder / "train_val.prototxt", small_batches(net_for_run(read_net(find_net(net_name)), folder)))
    solver = solver_for_run(read_solver(find_solver(net_name, solver_name)), snapshot_prefix="step", seed=1)
    solver.max_iter = solver.display = 1
    solver.test_iter[:] = [1]
    write_text(folder / "solver.prototxt", solver)
    argv = [*engine.command, "train", "--solver", "solver.prototxt"]
    child = subprocess.run(argv, cwd=folder, env=dict(engine.environment), capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-2000:]
    assert (folder / "step_iter_1.caffemodel").stat().st_size > 0
    losses = [float(loss) for loss in re.findall(r"Iteration \d+.*, loss = (\S+)", child.stderr)]
    assert losses and np.isfinite(losses).all()
    assert losses[0] < (8 if net_name == "tang" else 4)  # seven squared hinges of 1; log 7, and side classifiers
