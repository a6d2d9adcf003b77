"""Several processes are one training with a larger batch."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from solver_cases import quiet_solver, write_solver

from fer.caffe_log import parse_log
from fer.engines.pytorch.distributed import start_ranks
from fer.engines.pytorch.weights import read_model, write_model

pytestmark = pytest.mark.full

ONE = "batch_size: 10"


def start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
        )


def train(solver: Path, log: Path, *options: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "fer.engines.pytorch", "train", "--solver", str(solver), *options]
    assert start(command, log).wait(timeout=120) == 0, log.read_text()


def start_torchrun(solver: Path, log: Path, *options: str) -> subprocess.Popen[bytes]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return start([*command, "-m", "fer.engines.pytorch", "train", "--solver", str(solver), *options], log)


def test_two_processes_give_the_losses_of_twice_the_batch(tmp_path: Path) -> None:
    fields = {"display": 1, "max_iter": 12, "test_iter": [4], "test_interval": 5, "average_loss": 2, "iter_size": 2}
    first = tmp_path / "first.caffemodel"
    write_model(first, quiet_solver(write_solver(tmp_path, "first")).net)
    one, two = (write_solver(tmp_path, name, **fields) for name in ("one", "two"))
    net = tmp_path / "one_net.prototxt"
    net.write_text(net.read_text().replace(ONE, "batch_size: 20"))
    train(one, tmp_path / "one.log", "--weights", str(first))
    ranks = start_torchrun(two, tmp_path / "two.log", "--weights", str(first))
    assert ranks.wait(timeout=180) == 0, (tmp_path / "two.log").read_text()
    for phase in ("train", "test"):
        single, double = (parse_log(tmp_path / f"{name}.log").curve(phase) for name in ("one", "two"))
        assert [row.iteration for row in double] == [row.iteration for row in single]  # one log, not two
        for mine, theirs in zip(double, single, strict=True):
            assert mine.outputs == pytest.approx(theirs.outputs, rel=2e-5)
            assert (mine.loss or 0) == pytest.approx(theirs.loss or 0, rel=2e-5)
    single_model, double_model = (read_model(tmp_path / f"{name}_iter_12.caffemodel") for name in ("one", "two"))
    for name, blobs in single_model.items():
        for index, blob in blobs.items():
            assert np.abs(blob - double_model[name][index]).max() <= 1e-5 * np.abs(blob).max()


def test_a_signal_to_one_rank_stops_all_with_a_snapshot(tmp_path: Path) -> None:
    solver = write_solver(tmp_path, "run", display=1, max_iter=10**6, snapshot=0)
    log = tmp_path / "log"
    ranks = start_torchrun(solver, log)
    deadline = time.monotonic() + 120
    while "Iteration 5 " not in log.read_text():
        assert ranks.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    children = Path(f"/proc/{ranks.pid}/task/{ranks.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGINT)
    assert ranks.wait(timeout=120) != 0  # torchrun says that its processes did not end with 0
    assert "Optimization stopped early." in log.read_text()
    assert len(list(tmp_path.glob("run_iter_*.solverstate"))) == 1


def test_the_tool_starts_its_ranks_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--gpu 0,1` does, here on the CPU: all ranks end well, or all end with the first that failed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    solver = write_solver(tmp_path, "run", max_iter=3)
    assert start_ranks(2, ["train", "--solver", str(solver)]) == 0
    assert [path.name for path in tmp_path.glob("*.solverstate")] == ["run_iter_3.solverstate"]
    assert start_ranks(2, ["train", "--solver", str(tmp_path / "nowhere.prototxt")]) == 1
