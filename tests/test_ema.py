"""fer train --ema: the exponential average of the weights, by our engines and as one of a run's snapshots."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training
from replayed_graph import use_graphs
from solver_cases import ENGINES as OURS
from solver_cases import quiet_solver, torch_training, write_solver
from training import resume

from fer import cli
from fer.engines.choice import Wish, choose_engine
from fer.engines.core.solver import Solver
from fer.engines.core.weights import Weights, read_model
from fer.engines.pytorch import step
from fer.engines.registry import ENGINES
from fer.errors import FerError, UsageError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.runs.run import Run

NORM = """
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { moving_average_fraction: 0.8 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
"""
DECAY = 0.4  # which the warm-up reaches after five iterations


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def normalised(folder: Path, **fields: Any) -> Path:
    """A solver whose net has parameters shared and frozen, and a BatchNorm's statistics."""
    path = write_solver(folder, "run", **fields)
    net = folder / "run_net.prototxt"
    net.write_text(net.read_text().replace('layer { name: "tanh"', NORM + 'layer { name: "tanh"'))
    return path


def blobs(solver: Solver) -> Weights:
    net = solver.net
    return {
        name: {i: net.blob(name, i).astype(np.float64) for i in range(len(shapes))}
        for name, shapes in net.blob_shapes.items()
    }


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, arrays in one.items():
        for index, array in arrays.items():
            np.testing.assert_array_equal(array, other[name][index], err_msg=f"{name} {index}")


# ---- the engines


@pytest.mark.parametrize("engine", OURS)
def test_it_is_the_average_that_numpy_finds(tmp_path: Path, engine: str) -> None:
    solver = quiet_solver(normalised(tmp_path, snapshot=12), engine, ema=DECAY)
    expected = blobs(solver)
    for iteration in range(12):
        solver.step(1)
        decay = min(DECAY, (1 + iteration) / (10 + iteration))
        for name, arrays in blobs(solver).items():
            for index, array in arrays.items():
                expected[name][index] = decay * expected[name][index] + (1 - decay) * array
    found, now = read_model(tmp_path / "run_ema_12.caffemodel"), read_model(tmp_path / "run_iter_12.caffemodel")
    for name, arrays in expected.items():
        for index, array in arrays.items():
            np.testing.assert_allclose(found[name][index], array, rtol=2e-6, atol=1e-7, err_msg=f"{name} {index}")
    assert_same(now, blobs(solver))  # saving the average leaves the weights as they are
    assert np.abs(found["conv"][0] - now["conv"][0]).max() > 1e-3
    assert (found["frozen"][0] == now["frozen"][0]).all()


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("engine", OURS)
def test_a_resume_goes_on_with_it_to_the_last_bit(tmp_path: Path, engine: str, form: str) -> None:
    path, ending = normalised(tmp_path, snapshot_format=form), ".h5" if form == "HDF5" else ""
    quiet_solver(path, engine, ema=DECAY).solve()
    average = tmp_path / f"run_ema_20.caffemodel{ending}"
    whole = read_model(average)
    average.unlink()
    quiet_solver(path, engine, ema=DECAY, snapshot=tmp_path / f"run_iter_10.solverstate{ending}").solve()
    assert_same(read_model(average), whole)


def test_it_begins_with_the_weights_that_the_training_begins_with(tmp_path: Path) -> None:
    quiet_solver(normalised(tmp_path, random_seed=2)).snapshot()
    weights = [tmp_path / "run_iter_0.caffemodel"]
    solver = quiet_solver(normalised(tmp_path, base_lr=0.0, snapshot=1), ema=DECAY, weights=weights)
    solver.step(1)
    first, found = (read_model(tmp_path / f"run_{name}.caffemodel") for name in ("iter_0", "ema_1"))
    np.testing.assert_array_equal(found["conv"][0], first["conv"][0])


def test_replays_of_a_graph_are_averaged_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_WARM_UP", 1)
    path = normalised(tmp_path)
    quiet_solver(path, ema=DECAY).step(10)
    eager = read_model(tmp_path / "run_ema_10.caffemodel")
    (tmp_path / "run_ema_10.caffemodel").unlink()
    solver = quiet_solver(path, ema=DECAY)
    use_graphs(solver, monkeypatch)
    solver.step(10)
    assert torch_training(solver).step.captured
    assert_same(read_model(tmp_path / "run_ema_10.caffemodel"), eager)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_a_decay_that_averages_nothing(tmp_path: Path, decay: float) -> None:
    with pytest.raises(FerError, match=r"--ema is .*; it must be over 0 and less than 1"):
        quiet_solver(write_solver(tmp_path, "run"), ema=decay)


def test_a_snapshot_without_an_average_is_not_gone_on_from_with_one(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run")
    quiet_solver(path).step(10)
    with pytest.raises(FerError, match=r"run_iter_10\.solverstate has no run_ema_10\.caffemodel beside it"):
        quiet_solver(path, ema=DECAY, snapshot=tmp_path / "run_iter_10.solverstate")


# ---- the run


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-ins for engines; the file of what they were called with."""
    for name in ("FER_CAFFE", "FAKE_FAULT", "FAKE_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    monkeypatch.setitem(ENGINES, "caffe", training.fake_pycaffe)
    monkeypatch.setitem(ENGINES, "pytorch", training.fake_pytorch)
    return tmp_path / "argv"


def start(folder: Path, data: Path, **options: Any) -> Run:
    return training.train_small(folder, data, **{"engine": "auto", "ema": 0.99, **options})


def names(run: Run) -> list[str]:
    return [snapshot.name for snapshot in (*run.snapshots(), *run.averages())]


def test_a_run_has_it_beside_each_snapshot_and_a_resume_keeps_it(tmp_path: Path, data: Path, argv: Path) -> None:
    run = start(tmp_path, data, max_iter=40)
    assert run.record.engine == "pytorch" and run.record.ema == 0.99
    run = resume(run.dir, max_iter=60)
    calls = [json.loads(line) for line in argv.read_text().splitlines()]
    assert [call[call.index("--ema") + 1] for call in calls if call[0] == "train"] == ["0.99", "0.99"]
    assert names(run) == ["20", "40", "60", "ema_20", "ema_40", "ema_60"]
    assert (run.dir / "snapshots" / "net_ema_60.caffemodel").is_file() and not list(run.unverified_dir.glob("*_*_*"))


def test_it_takes_part_in_the_choice_on_val(tmp_path: Path, data: Path, argv: Path) -> None:
    run = start(tmp_path, data, max_iter=40)
    score_run(run)
    known = json.loads(run.scores_by_snapshot.read_text())["snapshots"]
    assert list(known) == ["20", "40", "ema_20", "ema_40"]
    score_run(run, snapshot="ema_40")
    assert load_scores(run.scores("val")).meta.weights == "snapshots/net_ema_40.caffemodel"


def test_it_goes_with_its_snapshot(tmp_path: Path, data: Path, argv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ACCURACIES", "0.1,0.3,0.5,0.4,0.5,0.2,0.6,0.3")
    run = start(tmp_path, data, patience=3, max_iter=200, snapshot=70)
    kept = [40, 70, 100]
    assert names(run) == [*map(str, kept), *(f"ema_{iteration}" for iteration in kept)]
    assert {path.name for path in (run.dir / "snapshots").glob("*_ema_*")} == {
        f"net_ema_{iteration}.caffemodel" for iteration in kept
    }


@pytest.mark.parametrize("fault", ["no-ema", "nan-average"])
def test_a_snapshot_whose_average_is_of_no_use(
    tmp_path: Path, data: Path, argv: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    with pytest.raises(FerError, match=r"the snapshot of iteration 20 is of no use: .*net_ema_20\.caffemodel"):
        start(tmp_path, data)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"another")])
def test_a_resume_goes_back_to_where_the_average_is(tmp_path: Path, data: Path, argv: Path, spoil: Any) -> None:
    run = start(tmp_path, data, max_iter=40)
    spoil(run.average_file((40,)))
    told: list[object] = []
    resume(run.dir, max_iter=60, progress=told.append)
    assert "snapshot of iteration 40 left out" in str(told) and "net_ema_40" in str(told)
    calls = [json.loads(line) for line in argv.read_text().splitlines()]
    assert next(call for call in reversed(calls) if call[0] == "train")[-3].endswith("net_iter_20.solverstate")


def test_caffe_keeps_none(tmp_path: Path, data: Path, argv: Path) -> None:
    refused = r"--ema 0\.99: Caffe keeps no average of the weights\ntake --engine pytorch or tensorflow"
    with pytest.raises(UsageError, match=refused):
        start(tmp_path, data, engine="caffe")
    training.assert_nothing_left(tmp_path)
    run = start(tmp_path, data, max_iter=20)
    with pytest.raises(UsageError, match=refused):
        resume(run.dir, max_iter=40, engine="caffe")
    said: list[str] = []
    assert choose_engine(Wish(ema=True), said.append).name == "pytorch"
    assert said == ["engine: PyTorch, which keeps an average of the weights"]


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "nan", "much"])
def test_a_decay_on_the_command_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "lenet", f"--ema={text}"]) == 2
    assert f"--ema: '{text}' is not a number over 0 and less than 1" in capsys.readouterr().err


def test_a_resume_takes_no_other_decay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--resume", str(tmp_path), "--ema", "0.5"]) == 2
    assert "goes on with that run's own ema" in capsys.readouterr().err
