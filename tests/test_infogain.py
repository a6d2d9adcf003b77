"""H of InfogainLoss: what it holds, what real Caffe makes of it, and that a run minds the file."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training
from sample_csv import csv_text
from torch.nn import functional as F
from training import resume, train

from fer import cli
from fer.data.manifest import MANIFEST, SplitCounts, read_manifest
from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.engines.interpreter import find_caffe
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.nets.infogain import infogain_matrix, read_infogain, write_infogain
from fer.system.hashes import file_hash
from fer.system.records import write_record
from fer.training.preflight.plan import preflight
from fer.training.prototxts import read_prototxts

ORACLE = Path(__file__).with_name("caffe_oracle.py")
COUNTS = [40, 4, 41, 72, 48, 32, 50]
SETTINGS = [(0.1, None), (0.0, COUNTS), (0.2, COUNTS)]
TRAIN_LOSS = """
layer { name: "loss" type: "InfogainLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TRAIN }
  infogain_loss_param { source: "h.binaryproto" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TEST } }
"""
NET = training.NET[: training.NET.index('layer { name: "loss"')] + TRAIN_LOSS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.make_data(tmp_path_factory.mktemp("data"))


def test_the_matrix() -> None:
    assert np.array_equal(infogain_matrix(7), np.eye(7, dtype=np.float32))
    smoothed = infogain_matrix(7, 0.1)
    assert np.allclose(smoothed.sum(1), 1) and np.allclose(np.diag(smoothed), 0.9 + 0.1 / 7)
    balanced = infogain_matrix(7, 0.1, COUNTS)
    weights = balanced.sum(1)
    assert np.allclose(weights * COUNTS, weights[0] * COUNTS[0], rtol=1e-6), "all classes count alike"
    assert np.dot(weights, COUNTS) / sum(COUNTS) == pytest.approx(1), "and the images as much as before in all"
    assert np.allclose(balanced, weights[:, None] * smoothed)
    softer = infogain_matrix(7, 0.1, COUNTS, 0.5).sum(1)
    assert np.allclose(softer / softer[0], np.sqrt(weights / weights[0]))
    assert np.dot(softer, COUNTS) / sum(COUNTS) == pytest.approx(1)


@pytest.mark.parametrize(("smoothing", "counts"), SETTINGS)
def test_it_is_cross_entropy_with_label_smoothing_and_weights(smoothing: float, counts: list[int] | None) -> None:
    scores, labels = drawn()
    loss, gradient = infogain(scores, labels, infogain_matrix(7, smoothing, counts))
    x = torch.from_numpy(scores).double().requires_grad_()
    smooth = F.cross_entropy(x, torch.from_numpy(labels), label_smoothing=smoothing, reduction="none")
    weights = torch.ones(7) if counts is None else torch.tensor(sum(counts) / (7 * np.array(counts)))
    wanted = (smooth * weights[torch.from_numpy(labels)]).mean()
    wanted.backward()
    assert x.grad is not None and np.allclose(gradient, x.grad.numpy(), atol=1e-7)
    assert loss == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.full
def test_real_caffe_takes_it(tmp_path: Path) -> None:
    cases = []
    for number, (smoothing, counts) in enumerate(SETTINGS):
        write_infogain(tmp_path / f"h{number}.binaryproto", infogain_matrix(7, smoothing, counts))
        scores, labels = drawn(number)
        blobs: dict[str, Any] = {"blob/x/0": scores, "bottom/label": labels}
        np.savez(tmp_path / f"case_{number}.npz", **blobs)
        model = f"""
        layer {{ name: "x" type: "Parameter" top: "x" parameter_param {{ shape {{ dim: 12 dim: 7 }} }} }}
        layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: 12 }} }} }}
        layer {{ name: "loss" type: "InfogainLoss" bottom: "x" bottom: "label" top: "loss"
          infogain_loss_param {{ source: "{tmp_path}/h{number}.binaryproto" }} }}"""
        cases.append({"model": model, "phase": "TRAIN", "backward": True, "tops": ["loss"], "needs_gradient": ["x"]})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    caffe = find_caffe()
    subprocess.run([caffe.python, ORACLE, tmp_path], check=True, env=caffe.environment)
    for number, (smoothing, counts) in enumerate(SETTINGS):
        wanted, gradient = infogain(*drawn(number), infogain_matrix(7, smoothing, counts))
        with np.load(tmp_path / f"out_{number}.npz", allow_pickle=False) as theirs:
            assert float(theirs["top/loss"]) == pytest.approx(wanted, rel=1e-5)
            assert np.allclose(theirs["diff/x"], gradient, atol=1e-6)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [12, 7] and labels int64 [12], every class among them."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(12, 7)).astype(np.float32), np.arange(12) % 7


def infogain(scores: np.ndarray, labels: np.ndarray, matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss by its formula, and its gradient by scores."""
    wide = scores.astype(np.float64)
    log_probabilities = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    rows = matrix[labels].astype(np.float64)
    gradient = np.exp(log_probabilities) * rows.sum(1, keepdims=True) - rows
    return float(-(rows * log_probabilities).sum(1).mean()), gradient / len(labels)


def test_written_and_read_back(tmp_path: Path) -> None:
    path, matrix = tmp_path / "h.binaryproto", infogain_matrix(7, 0.1, COUNTS)
    write_infogain(path, matrix)
    assert np.array_equal(read_infogain(path, 7), matrix) and [*tmp_path.iterdir()] == [path]
    with pytest.raises(FerError, match="holds 49 numbers, not 5x5"):
        read_infogain(path, 5)
    write_infogain(path, matrix * np.nan)
    with pytest.raises(FerError, match="not finite"):
        read_infogain(path, 7)


def test_the_command_counts_the_training_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faces.csv").write_text(csv_text())
    prepare(tmp_path / "faces.csv", tmp_path / "data", PrepareOptions())
    manifest = read_manifest(tmp_path / "data")
    splits = manifest.splits | {"train": SplitCounts(sum(COUNTS), tuple(COUNTS))}
    write_record(tmp_path / "data" / MANIFEST, replace(manifest, splits=splits))
    out = tmp_path / "h.binaryproto"
    assert cli.main(["infogain", str(out), "--smoothing", "0.1", "--balance", str(tmp_path / "data")]) == 0
    assert np.array_equal(read_infogain(out, 7), infogain_matrix(7, 0.1, COUNTS))
    assert "infogain_loss_param" in capsys.readouterr().out


def test_a_run_records_the_matrix_and_refuses_another(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    monkeypatch.chdir(tmp_path)
    write_infogain(tmp_path / "h.binaryproto", infogain_matrix(7, 0.1))
    net, solver = training.write_net(tmp_path, net=NET)
    run = train(net, solver, data, engine="fake")
    path = tmp_path / "h.binaryproto"
    assert f'source: "{path}"' in run.net.read_text(), "the engine finds it from the run directory"
    assert run.record.data.files[str(path)] == file_hash(path)
    write_infogain(path, infogain_matrix(7, 0.2))
    with pytest.raises(FerError, match=r"h\.binaryproto has changed"):
        resume(run.dir, max_iter=80)


@pytest.mark.parametrize(
    ("matrix", "fault"),
    [
        (None, r"net\.prototxt:19: layer 'loss': cannot read the infogain matrix .*h\.binaryproto: No such file"),
        (np.eye(5), r"net\.prototxt:19: layer 'loss': the infogain matrix .* holds 25 numbers, not 7x7"),
    ],
)
def test_a_missing_or_wrong_matrix_is_refused_before_the_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray | None, fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    net, solver = training.write_net(tmp_path, net=NET)
    if matrix is not None:
        write_infogain(tmp_path / "h.binaryproto", matrix)
    with pytest.raises(FerError, match=fault):
        preflight(read_prototxts(solver, net), data)


def test_a_net_that_names_no_matrix_is_refused(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, net=NET.replace('source: "h.binaryproto"', ""))
    with pytest.raises(FerError, match=r"layer 'loss': infogain_loss_param has no source"):
        preflight(read_prototxts(solver, net), data)
