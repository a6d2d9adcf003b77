"""The command line of our engines: Caffe's verbs, flags, lines and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from frameworks import each_engine, framework
from solver_cases import quiet_solver, write_solver

from fer.engines.core import tool
from fer.engines.core.weights import write_model
from fer.formats.log import parse_log

DEPLOY = """
name: "Small"
input: "data" input_shape { dim: 1 dim: 1 dim: 6 dim: 6 }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
TRANSFORM = "crop_size: 6 scale: 0.01 mean_value: 100"


def run(engine: str, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", f"fer.engines.{engine}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


# ---- train


@each_engine
@pytest.mark.parametrize("spelling", [["--solver", "{}"], ["-solver", "{}"], ["-solver={}"], ["--solver={}"]])
def test_options_are_spelled_as_caffe_s(
    tmp_path: Path, spelling: list[str], capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    solver = write_solver(tmp_path, "run", max_iter=2, display=1)
    assert tool.main(framework(engine), ["train", *(word.format(solver) for word in spelling)]) == 0
    log = parse_log(capfd.readouterr().err.splitlines())
    assert log.optimization_done and [row.iteration for row in log.curve("train")] == [0, 1, 2]
    assert (tmp_path / "run_iter_2.solverstate").exists()


@each_engine
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--solver", "nowhere.prototxt"], "cannot read nowhere.prototxt"),
        (["train", "--solver", "{run}", "--gpu", "0"], "no GPU 0"),
        (["train", "--solver", "{run}", "--gpu", "x"], "--gpu takes numbers"),
        (["train", "--solver", "{run}", "--snapshot", "none.solverstate"], "cannot read none.solverstate"),
        (["train", "--solver", "{run}", "--weights", "none.caffemodel"], "cannot read none.caffemodel"),
        (["test", "--model", "{net}", "--weights", "none.caffemodel"], "cannot read none.caffemodel"),
        (["time", "--model", "{net}", "--iterations", "0"], "--iterations is 0"),
        (["describe", "--model", "{run}", "--phase", "TRAIN"], "is a solver, where a net is expected"),
    ],
)
def test_a_fault_is_one_fatal_line(
    tmp_path: Path, words: list[str], message: str, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    solver = write_solver(tmp_path, "run", max_iter=2)
    names = {"run": solver, "net": tmp_path / "run_net.prototxt"}
    assert tool.main(framework(engine), [word.format(**names) for word in words]) == 1
    fatal = [line for line in capfd.readouterr().err.splitlines() if line.startswith("F")]
    assert len(fatal) == 1 and message in fatal[0]
    assert parse_log(fatal).fatal


@each_engine
def test_both_a_snapshot_and_weights_are_a_wrong_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    assert tool.main(framework(engine), ["train", "--solver", "s", "--snapshot", "x", "--weights", "y"]) == 2
    assert "but not both" in capfd.readouterr().err


@each_engine
@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_stop_or_go_on(tmp_path: Path, number: signal.Signals, code: int, engine: str) -> None:
    solver = write_solver(tmp_path, "run", display=1, max_iter=10**7, snapshot=0)
    log = tmp_path / "log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", f"fer.engines.{engine}", "train", "--solver", str(solver)]
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def wait_for(text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    wait_for("Iteration 5 ")
    process.send_signal(signal.SIGHUP)
    wait_for("Snapshotting solver state")
    later = parse_log(log).curve("train")[-1].iteration + 3
    wait_for(f"Iteration {later} ")
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert parse_log(log).stopped_early
    states = sorted(int(path.stem.rpartition("_")[2]) for path in tmp_path.glob("*.solverstate"))
    assert len(states) == 2
    assert parse_log(log).curve("train")[-1].iteration == states[-1] - 1


@each_engine
@pytest.mark.full
def test_without_its_parent_the_training_saves_and_ends(tmp_path: Path, engine: str) -> None:
    solver = write_solver(tmp_path, "run", display=1, max_iter=10**7, snapshot=0)
    log = tmp_path / "log"
    script = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'fer.engines.{engine}', 'train', '--solver', {str(solver)!r}],"
        f" stderr=open({str(log)!r}, 'wb'), env={{**os.environ, 'FER_PARENT_PID': str(os.getpid())}})\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not log.exists() or "Iteration 5 " not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while "Optimization stopped early." not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    assert len(list(tmp_path.glob("*.solverstate"))) == 1


# ---- test, time, describe, predict, doctor


@each_engine
def test_scoring_logs_each_batch_and_the_means(tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    solver = write_solver(tmp_path, "run")
    weights = tmp_path / "w.caffemodel"
    write_model(weights, quiet_solver(solver).net)
    model = str(tmp_path / "run_net.prototxt")
    assert tool.main(framework(engine), ["test", "-model", model, "-weights", str(weights), "-iterations", "4"]) == 0
    lines = [line.split("] ", 1)[1] for line in capfd.readouterr().err.splitlines()]
    assert lines[0] == "Running for 4 iterations."
    losses = [float(line.split("= ")[1]) for line in lines if re.match(r"Batch \d, loss = ", line)]
    assert len(losses) == 4
    mean = re.fullmatch(r"loss = (\S+) \(\* 1 = (\S+) loss\)", lines[-1])
    assert mean and float(mean[1]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(next(line for line in lines if line.startswith("Loss: "))[6:]) == pytest.approx(np.mean(losses), 1e-5)


@each_engine
def test_timing_names_every_layer(tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    write_solver(tmp_path, "run")
    assert (
        tool.main(framework(engine), ["time", "--model", str(tmp_path / "run_net.prototxt"), "--iterations", "2"]) == 0
    )
    text = capfd.readouterr().err
    for name in ("data", "conv", "tanh", "one", "two", "three", "frozen", "loss"):
        for way in ("forward", "backward"):
            assert re.search(rf"\] +{name}\t{way}: [\d.e-]+ ms\.", text)
    for line in ("Average Forward pass: ", "Average Backward pass: ", "Average Forward-Backward: ", "Total Time: "):
        assert line in text


@each_engine
def test_a_net_is_described_as_the_worker_does(tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    write_solver(tmp_path, "run")
    assert (
        tool.main(framework(engine), ["describe", "--model", str(tmp_path / "run_net.prototxt"), "--phase", "TEST"])
        == 0
    )
    answer = json.loads(capfd.readouterr().out)
    assert answer["params"]["conv"] == [[6, 1, 3, 3], [6]]
    assert answer["blobs"]["label_data_1_split_0"] == [7] and answer["types"]["label_data_1_split"] == "Split"
    own = {"pytorch": {"torch"}, "tensorflow": {"tensorflow", "keras"}}[engine]
    assert set(answer["versions"]) == {*own, "python", "numpy", "protobuf"}


@each_engine
@pytest.mark.parametrize("ten_crop", [False, True])
def test_prediction_is_the_mean_over_the_views(tmp_path: Path, ten_crop: bool, engine: str) -> None:
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    from fer.engines.pytorch.net import Net
    from fer.engines.pytorch.registry import Context, Seeds
    from fer.formats.prototxt import read_net

    net = Net(read_net(tmp_path / "deploy.prototxt"), Context("TEST", seeds=Seeds(1)))
    write_model(tmp_path / "w.caffemodel", net)
    images = np.random.default_rng(1).integers(0, 256, (70, 1, 8, 9), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    names = {"model": "deploy.prototxt", "weights": "w.caffemodel", "source": "images.npy",
             "out": "scores.npz"}  # fmt: skip
    words = [word for key, name in names.items() for word in (f"--{key}", str(tmp_path / name))]
    assert tool.main(framework(engine), ["predict", "--transform", TRANSFORM, *words, *["--ten-crop"] * ten_crop]) == 0
    weight, bias = (blob.detach().numpy().astype(np.float64) for blob in net.params["ip"])
    corners = [(1, 1), (0, 0), (0, 3), (2, 0), (2, 3)] if ten_crop else [(1, 1)]
    expected = np.zeros((70, 7))
    views = 0
    for top, left in corners:
        pixels = (images[:, :, top : top + 6, left : left + 6].astype(np.float64) - 100) * 0.01
        for view in [pixels, pixels[..., ::-1]] if ten_crop else [pixels]:
            scores = np.exp(view.reshape(70, -1) @ weight.T + bias)
            expected += scores / scores.sum(1, keepdims=True)
            views += 1
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        assert file["probs"].dtype == np.float32
        assert np.allclose(file["probs"], expected / views, atol=1e-6)


@each_engine
def test_bad_images_are_one_error_and_leave_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    out = tmp_path / "scores.npz"
    model = str(tmp_path / "deploy.prototxt")
    words = ["predict", "--model", model, "--weights", "w", "--source", str(tmp_path / "images.npy")]
    words += ["--transform", TRANSFORM, "--out", str(out)]
    for spoilt in (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 1, 8, 8), np.float32), np.zeros((0, 1, 8, 8), np.uint8)):
        np.save(tmp_path / "images.npy", spoilt)
        assert tool.main(framework(engine), words) == 1
    (tmp_path / "images.npy").write_bytes(b"\x93NUMPY")
    assert tool.main(framework(engine), words) == 1
    assert "cannot read images" in capfd.readouterr().err and not out.exists()


@each_engine
def test_the_doctor_takes_a_step(engine: str) -> None:
    said = run(engine, "doctor")
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    assert answer["one_step_ok"] and "Convolution" in answer["layer_types"]


@each_engine
def test_an_unknown_verb_names_the_known(engine: str) -> None:
    said = run(engine, "trian")
    assert said.returncode == 2 and "train" in said.stderr


AFTER_A_VERB = """
import resource, runpy, sys
import torch
sys.argv[0] = "fer.engines.pytorch"
try:
    runpy.run_module("fer.engines.pytorch", run_name="__main__")
except SystemExit as end:
    assert not end.code
for iteration in range(40):
    if iteration == 20:  # by then the heap has grown, how far depends on what else lies in it
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10 * 2**20)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print()
print(float(torch.full((1,), 1e-20) * 1e-20), faults)
"""


def test_a_process_flushes_denormals_and_keeps_freed_memory() -> None:
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", AFTER_A_VERB, "layers"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    product, faults = said.stdout.splitlines()[-1].split()
    # 20 times 40 MiB, which glibc by itself gives back each time, are 204,800 pages of 4 KiB.
    assert float(product) == 0 and int(faults) < 50_000
