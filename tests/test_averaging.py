"""The mean of snapshots, and the BatchNorm statistics that belong to it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from frameworks import each_engine, framework
from solver_cases import quiet_solver, write_solver
from torch.nn import functional as F

from fer.engines.core import tool
from fer.engines.core.weights import read_model
from fer.formats.database import Database
from fer.formats.log import parse_log

# A dropout between two normalisations: the second must be told the numbers it meets in scoring.
NET = """
name: "Normal"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "SOURCE" backend: LMDB batch_size: 10 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "SOURCE" backend: LMDB batch_size: 33 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale1" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "bn2" type: "BatchNorm" bottom: "ip" top: "ip" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, list[Path]]:
    """The net's file, and snapshots of iterations 5, 10 and 15."""
    solver = write_solver(tmp_path, "run", max_iter=15, snapshot=5)
    model = tmp_path / "run_net.prototxt"
    model.write_text(NET.replace("SOURCE", str(tmp_path / "lmdb")))
    quiet_solver(solver).solve()
    return model, [tmp_path / f"run_iter_{i}.caffemodel" for i in (5, 10, 15)]


def average(engine: str, model: Path, files: list[Path], *words: str) -> int:
    out = ["--out", str(model.with_name("mean.caffemodel")), *words]
    return tool.main(
        framework(engine), ["average", "--model", str(model), "--weights", ",".join(map(str, files)), *out]
    )


@each_engine
def test_the_mean_and_its_own_statistics(
    tmp_path: Path, trained: tuple[Path, list[Path]], capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    model, files = trained
    assert average(engine, model, files) == 0
    said = capfd.readouterr()
    assert json.loads(said.out) == {"batches": 4}  # 33 images in batches of 10
    assert said.err.splitlines()[-1] == "passed 4 of 4"
    mean, parts = read_model(tmp_path / "mean.caffemodel"), [read_model(file) for file in files]
    for layer in ("conv", "scale1", "ip"):
        for index, blob in mean[layer].items():
            expected = np.mean([part[layer][index] for part in parts], axis=0, dtype=np.float64)
            np.testing.assert_allclose(blob, expected, rtol=1e-6, atol=1e-9)
    with Database(tmp_path / "lmdb") as database:
        pixels = (torch.from_numpy(database.read_all()[0]).float() - 128) / 128
    batches = pixels[[k % 33 for k in range(40)]].split(10)
    weights = {layer: [torch.from_numpy(blob) for blob in blobs.values()] for layer, blobs in mean.items()}
    convolved = [F.conv2d(batch, weights["conv"][0]) for batch in batches]
    gamma, beta = weights["scale1"]
    rectified = [F.relu(F.batch_norm(x, None, None, gamma, beta, training=True)) for x in convolved]
    bottoms = {"bn1": convolved, "bn2": [F.linear(x.flatten(1), *weights["ip"]) for x in rectified]}
    for layer, inputs in bottoms.items():
        axes = [0, *range(2, inputs[0].dim())]
        means, variances = (torch.stack([moment(x, axes) for x in inputs]) for moment in (torch.mean, torch.var))
        for given, wanted in zip(weights[layer], (means.sum(0), variances.sum(0), torch.tensor([4.0])), strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


@each_engine
def test_the_same_call_gives_the_same_file(tmp_path: Path, trained: tuple[Path, list[Path]], engine: str) -> None:
    model, files = trained
    model.write_text(model.read_text().replace("mean_value: 128 }", "mean_value: 128 mirror: true crop_size: 8 }", 1))
    assert average(engine, model, files, "--iterations", "3") == 0
    first = (tmp_path / "mean.caffemodel").read_bytes()
    assert average(engine, model, files, "--iterations", "3") == 0
    assert (tmp_path / "mean.caffemodel").read_bytes() == first


@each_engine
def test_without_statistics_to_make_no_pass_is_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    solver = write_solver(tmp_path, "run", max_iter=20)
    quiet_solver(solver).solve()
    files = [tmp_path / f"run_iter_{i}.caffemodel" for i in (10, 20)]
    assert average(engine, tmp_path / "run_net.prototxt", files) == 0
    said = capfd.readouterr()
    assert json.loads(said.out) == {"batches": 0} and not said.err
    mean, parts = read_model(tmp_path / "mean.caffemodel"), [read_model(file) for file in files]
    assert mean.keys() == parts[0].keys()
    for layer, blobs in mean.items():  # "three" shares its blobs with "two"
        for index, blob in blobs.items():
            np.testing.assert_allclose(
                blob, (parts[0][layer][index] + parts[1][layer][index]) / 2, rtol=1e-5, atol=1e-7
            )


@each_engine
@pytest.mark.parametrize(
    ("words", "message"),
    [(["--iterations", "0"], "--iterations is 0"), (["--weights", "none.caffemodel"], "cannot read none.caffemodel")],
)
def test_faults_leave_no_file(
    tmp_path: Path,
    trained: tuple[Path, list[Path]],
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
    engine: str,
) -> None:
    model, files = trained
    assert average(engine, model, files, *words) == 1
    fatal = parse_log(capfd.readouterr().err.splitlines()).fatal
    assert fatal is not None and message in fatal
    assert not (tmp_path / "mean.caffemodel").exists()
