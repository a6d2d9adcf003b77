"""The real Caffe worker: stops, saves, resumes to the last digit, and scores as Caffe itself does."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training
from training import assert_same_training, numbers, resume, train, wait_for_log

from fer.engines.engine import Demand
from fer.engines.interpreter import find_caffe
from fer.engines.registry import find_engine
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.formats.database import Database, read_mean
from fer.formats.prototxt import read_net
from fer.nets.deploy import front_layer
from fer.nets.states import State
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.schema import caffe_pb2
from fer.system.records import read_record
from fer.training.events import Setup

pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def real_caffe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FER_CAFFE", raising=False)


# Slow enough that a signal comes before the end.
NET = training.NET.replace("batch_size: 16", "batch_size: 64")
LONG: dict[str, Any] = {"max_iter": 400, "display": 1, "snapshot": 150, "test_interval": 90, "test_iter": 4}


def start(folder: Path, data: Path, net: str = NET, python_layers: bool = False, **solver: object) -> Run:
    net_path, solver_path = training.write_net(folder, net=net, **solver)
    runs, options = folder / "runs", {"python_layers": python_layers}
    return train(net_path, solver_path, data, name="run", seed=1, runs_dir=runs, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """400 iterations without a stop; the net has mirror, random crop and dropout."""
    return start(tmp_path_factory.mktemp("whole"), data, **LONG)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed_it_is_the_training_that_was_never_stopped(
    tmp_path: Path, data: Path, whole: Run, number: signal.Signals, code: int
) -> None:
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, "caffe")
    wait_for_log(tmp_path, "Iteration 50 ", process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code, said
    stopped = Run(tmp_path / "runs" / "run").snapshots()[-1].iteration
    assert f"stopped at iteration {stopped}, saved" in said and 50 < stopped < 400
    assert_same_training(resume(tmp_path / "runs" / "run"), whole)


def test_killed_with_its_parent_the_worker_saves_and_the_run_goes_on(tmp_path: Path, data: Path, whole: Run) -> None:
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, "caffe")
    wait_for_log(tmp_path, "Iteration 50 ", process)
    process.kill()
    process.communicate()
    with Run(tmp_path / "runs" / "run").locked(patience=60):  # the worker has saved and is gone
        pass
    told: list[object] = []
    run = resume(tmp_path / "runs" / "run", progress=told.append)
    assert any("Replaying the data of" in event.message for event in told if isinstance(event, Setup))
    # Nothing was lost: it went on from where the worker was, not from the snapshot of iteration 150 or the start.
    first = min(snapshot.iteration for snapshot in run.snapshots())
    assert first not in (150, 300, 400)
    assert_same_training(run, whole)


def test_killed_itself_the_worker_loses_what_was_not_saved(tmp_path: Path, data: Path, whole: Run) -> None:
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, "caffe")
    wait_for_log(tmp_path, "Iteration 160 ", process)
    os.kill(training.child_of(process), signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1 and "Caffe was killed (SIGKILL)" in said and "net_iter_" in said
    assert Run(tmp_path / "runs" / "run").snapshots()[-1].iteration in (150, 300)
    assert_same_training(resume(tmp_path / "runs" / "run"), whole)


def test_hangup_saves_and_goes_on(tmp_path: Path, data: Path, whole: Run) -> None:
    training.write_net(tmp_path, net=NET, **LONG)
    process = training.start_training(tmp_path, data, "caffe")
    wait_for_log(tmp_path, "Iteration 20 ", process)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate()
    assert process.returncode == 0, said
    run = Run(tmp_path / "runs" / "run")
    extra = {snapshot.iteration for snapshot in run.snapshots()} - {150, 300, 400}
    assert len(extra) == 1 and min(extra) > 20
    assert_same_training(run, whole)


def test_a_long_test_pass_is_left_at_once(tmp_path: Path, data: Path) -> None:
    reshape = "reshape_param { shape { dim: 8 dim: 7 } }"  # the batch stays, and test_iter with it
    eight = f'layer {{ name: "eight" type: "Reshape" bottom: "ip" top: "eight" {reshape} include {{ phase: TEST }} }}'
    net = training.NET.replace("batch_size: 7", "batch_size: 8") + eight
    training.write_net(tmp_path, net=net, test_iter=10_000_000)
    process = training.start_training(tmp_path, data, "caffe")
    wait_for_log(tmp_path, "Iteration 0, Testing net", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "stopped at iteration 0" in said


def test_made_longer_it_is_the_longer_training(tmp_path: Path, data: Path, whole: Run) -> None:
    run = start(tmp_path, data, **{**LONG, "max_iter": 130})
    assert run.record.state == "finished"
    assert_same_training(resume(run.dir, max_iter=400), whole)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_every_solver_s_snapshots_pass(tmp_path: Path, data: Path, kind: str) -> None:
    """Parameters shared by name too, and gradients summed over two passes."""
    twice = training.NET.replace(
        'layer { name: "drop"',
        'layer { name: "a" type: "InnerProduct" bottom: "hidden" top: "a" param { name: "w" } param { name: "b" } '
        'inner_product_param { num_output: 24 weight_filler { type: "xavier" } } } '
        'layer { name: "b" type: "InnerProduct" bottom: "a" top: "hidden2" param { name: "w" } param { name: "b" } '
        'inner_product_param { num_output: 24 weight_filler { type: "xavier" } } } layer { name: "drop"',
    ).replace('bottom: "hidden" top: "hidden" }', 'bottom: "hidden2" top: "hidden2" }')
    net = twice.replace('bottom: "hidden" top: "ip"', 'bottom: "hidden2" top: "ip"')
    momentum = {} if kind in ("AdaGrad", "RMSProp") else {"momentum": 0.9}
    options = {"type": f'"{kind}"', "base_lr": 0.001, "iter_size": 2, "max_iter": 6, "delta": 1e-6, "snapshot": 0}
    options |= momentum or {"momentum": 0}
    run = start(tmp_path, data, net, False, **options)
    assert [snapshot.iteration for snapshot in run.snapshots()] == [6]


def test_a_learning_rate_far_too_high_stops_the_run(tmp_path: Path, data: Path) -> None:
    with pytest.raises(FerError, match=r"loss (is|has exploded).*lower base_lr"):
        start(tmp_path, data, base_lr=1e4, max_iter=2000, snapshot=0, display=1)
    assert Run(tmp_path / "runs" / "run").snapshots() == []


def test_caffe_s_own_reason_is_shown(tmp_path: Path) -> None:
    net, _ = training.write_net(tmp_path, net='layer { name: "x" type: "Convolutoin" top: "x" }')
    with pytest.raises(FerError, match=r"(?s)gave up \(SIGABRT\).*Caffe says: .*Unknown layer type: Convolutoin"):
        find_engine("caffe").describe(net, State("TRAIN"), folder=tmp_path)


def test_start_weights_are_taken(tmp_path: Path, data: Path, whole: Run) -> None:
    net, solver = training.write_net(tmp_path, max_iter=1, display=1, test_iter=5)
    run = train(net, solver, data, weights=whole.weights_file(400), seed=1, runs_dir=tmp_path / "runs")
    score_run(whole, snapshot=400)
    of_the_weights = read_record(whole.scores_by_snapshot, ScoresBySnapshot).snapshots["400"].loss
    assert numbers(run, "test")[0][2]["loss"] == pytest.approx(of_the_weights, rel=1e-4)


# ---- scoring


def test_scores_are_those_of_caffe_s_own_test_pass(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, max_iter=100, test_interval=100)  # 5 x 7 images: each of val once
    score_run(run, snapshot=100)
    outputs = numbers(run, "test")[-1][2]
    scores = load_scores(run.scores("val"))
    assert len(scores.files) == training.VAL_COUNT
    right = scores.probs[np.arange(training.VAL_COUNT), scores.labels].astype(np.float64)
    assert outputs["accuracy"] == pytest.approx(np.mean(scores.predictions == scores.labels), abs=1e-6)
    assert outputs["loss"] == pytest.approx(-np.log(right).mean(), rel=1e-4)


def test_ten_crops_are_the_corners_and_the_centre_each_mirrored(tmp_path: Path, data: Path, whole: Run) -> None:
    with Database(data / "val_lmdb") as database:
        images, _, _ = database.read_all()
    mean = read_mean(data / "mean.binaryproto")
    engine = find_engine("caffe")

    def predict(crops: np.ndarray, transform: caffe_pb2.TransformationParameter, ten_crop: bool = False) -> np.ndarray:
        np.save(tmp_path / "images.npy", crops)
        files = whole.deploy, [whole.weights_file(400)], tmp_path / "images.npy", transform, [tmp_path / "out"]
        engine.predict(*files, ten_crop=ten_crop)
        probs: np.ndarray = np.load(tmp_path / "out")["probs"]
        return probs

    plain = caffe_pb2.TransformationParameter()  # the crops come prepared
    transform = front_layer(read_net(whole.net)).transform_param
    crops = []
    for y, x in [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]:
        window = np.s_[..., y : y + 44, x : x + 44]
        crops.append((images[window].astype(np.float32) - mean[window]) * np.float32(0.00390625))
    views = predict(np.concatenate([*crops, *(crop[..., ::-1] for crop in crops)]), plain)
    views = views.reshape(10, len(images), -1)
    np.testing.assert_allclose(predict(images, transform, ten_crop=True), views.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(predict(images, transform), views[4], atol=1e-6)


DEMAND = Demand(frozenset({"Data", "BatchNorm", "SoftmaxWithLoss"}), "norm", "SGD")


def test_what_the_wheel_does_not_train_is_known_from_a_trial() -> None:
    """It answers rc 0, numbers 300 times too large, and leaves the statistics as they were."""
    caffe = training.real_caffe()
    assert caffe.shortfall(DEMAND) == "does not train BatchNorm (layer 'norm')"
    for kind in ("SGD", "Adam"):
        assert replace(caffe, own=True).shortfall(replace(DEMAND, statistics=None, solver_type=kind)) is None
    assert "Unknown solver type: Adamant" in str(
        replace(caffe, own=True).shortfall(replace(DEMAND, solver_type="Adamant"))
    )


def test_a_caffe_executable_is_tried_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PyTorch engine has the flags of the `caffe` tool and trains BatchNorm; of Python layers it has Augment."""
    pytest.importorskip("torch")
    path = tmp_path / "caffe"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={training.ROOT} exec {sys.executable} -m fer.engines.pytorch "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("FER_CAFFE", str(path))
    assert find_engine("caffe").shortfall(replace(DEMAND, layer_types=DEMAND.layer_types | {"Python"})) is None
    assert find_engine("caffe").shortfall(replace(DEMAND, layer_types=frozenset({"LSTM"}))) == "has no layer type LSTM"


def test_a_fault_in_a_users_python_layer_has_its_file_and_line(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "import caffe\nclass Mine(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n        raise ValueError(self.param_str)\n"
    )
    python = find_caffe().python
    (tmp_path / "python").write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {python} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("FER_CAFFE_PYTHON", str(tmp_path / "python"))
    layer = 'layer { name: "mine" type: "Python" bottom: "data" top: "mine" python_param { module: "mine" '
    layer += 'layer: "Mine" param_str: "rotatoin" } }\n'
    net = training.NET.replace('layer { name: "relu"', layer + 'layer { name: "relu"')
    with pytest.raises(FerError) as problem:
        start(tmp_path, data, net=net, python_layers=True)
    line = net[: net.index(layer)].count("\n") + 1
    assert str(problem.value) == (f"{tmp_path / 'net.prototxt'}:{line}: layer 'mine': ValueError: rotatoin")
    training.assert_nothing_left(tmp_path)
