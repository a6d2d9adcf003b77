"""Several processes are one training with a larger batch."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from solver_cases import quiet_solver, write_solver

from fer.engines.core.weights import read_model, write_model
from fer.engines.pytorch import distributed
from fer.formats.log import parse_log

pytestmark = pytest.mark.full

ONE = "batch_size: 10"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
LIMIT = 180
"""Seconds that any process here may take, on a machine with other work too."""


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to `log`; at the end it and its children are killed, should any still run."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        for pid in [process.pid, *children_of(process)] if process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        process.wait()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def train(solver: Path, log: Path, *options: str, launcher: Sequence[str] = ("-W", "error")) -> None:
    command = [sys.executable, *launcher, "-m", "fer.engines.pytorch", "train", "--solver", str(solver), *options]
    with started(command, log) as process:
        assert process.wait(timeout=LIMIT) == 0, log.read_text()


def test_two_processes_give_the_losses_of_twice_the_batch(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "display": 1,
        "max_iter": 12,
        "test_iter": [4],
        "test_interval": 5,
        "average_loss": 2,
        "iter_size": 2,
    }
    first = tmp_path / "first.caffemodel"
    write_model(first, quiet_solver(write_solver(tmp_path, "first")).net)
    one, two = (write_solver(tmp_path, name, **fields) for name in ("one", "two"))
    net = tmp_path / "one_net.prototxt"
    net.write_text(net.read_text().replace(ONE, "batch_size: 20"))
    train(one, tmp_path / "one.log", "--weights", str(first))
    train(two, tmp_path / "two.log", "--weights", str(first), launcher=TORCHRUN)
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


def test_two_processes_go_on_as_if_they_had_not_stopped(tmp_path: Path) -> None:
    """To the last bit, with dropout of each rank's own, and an average that the first keeps."""
    solver = write_solver(tmp_path, "run", max_iter=6, snapshot=3, dropout=True)
    ema = ["--ema", "0.3"]
    train(solver, tmp_path / "whole.log", *ema, launcher=TORCHRUN)
    models = [tmp_path / f"run_{kind}_6.caffemodel" for kind in ("iter", "ema")]
    whole = [model.read_bytes() for model in models]
    for model in models:
        model.unlink()
    state = str(tmp_path / "run_iter_3.solverstate")
    train(solver, tmp_path / "rest.log", *ema, "--snapshot", state, launcher=TORCHRUN)
    assert "begin anew" not in (tmp_path / "rest.log").read_text()
    assert [model.read_bytes() for model in models] == whole and whole[0] != whole[1]


def test_a_failure_after_the_ranks_have_met_ends_them(tmp_path: Path) -> None:
    solver = write_solver(tmp_path, "run", max_iter=3)
    log = tmp_path / "log"
    command = [sys.executable, *TORCHRUN, "-m", "fer.engines.pytorch", "train", "--solver", str(solver)]
    with started([*command, "--snapshot", str(tmp_path / "nowhere.solverstate")], log) as ranks:
        assert ranks.wait(timeout=LIMIT) != 0
    assert "nowhere.solverstate" in log.read_text()


def test_a_signal_to_one_rank_stops_all_with_a_snapshot(tmp_path: Path) -> None:
    solver = write_solver(tmp_path, "run", display=1, max_iter=10**6, snapshot=0)
    log = tmp_path / "log"
    command = [sys.executable, *TORCHRUN, "-m", "fer.engines.pytorch", "train", "--solver", str(solver)]
    with started(command, log) as ranks:
        deadline = time.monotonic() + LIMIT
        while "Iteration 5 " not in log.read_text():
            assert ranks.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        os.kill(children_of(ranks)[0], signal.SIGINT)
        assert ranks.wait(timeout=LIMIT) != 0  # torchrun says that its processes did not end with 0
    assert "Optimization stopped early." in log.read_text()
    assert len(list(tmp_path.glob("run_iter_*.solverstate"))) == 1


def test_the_tool_starts_its_ranks_itself(tmp_path: Path) -> None:
    """What `--gpu 0,1` does, here on the CPU: all ranks end well, or all end with the first that failed."""
    script = (
        "import sys; from fer.engines.pytorch.distributed import start_ranks; sys.exit(start_ranks(2, sys.argv[1:]))"
    )
    for solver, code in ((write_solver(tmp_path, "run", max_iter=3), 0), (tmp_path / "nowhere.prototxt", 1)):
        log = tmp_path / "log"
        with started([sys.executable, "-c", script, "train", "--solver", str(solver)], log) as ranks:
            assert ranks.wait(timeout=LIMIT) == code, log.read_text()
    assert [path.name for path in tmp_path.glob("*.solverstate")] == ["run_iter_3.solverstate"]


@pytest.mark.parametrize(("end", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_rank_that_fails_ends_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, code: int
) -> None:
    python, pid = tmp_path / "python", tmp_path / "pid"
    fails = f"until [ -s {pid} ]; do sleep 0.1; done; {end}"
    python.write_text(f"#!/bin/sh\nif [ $RANK = 1 ]; then {fails}; fi\necho $$ > {pid}\nexec sleep {LIMIT}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(distributed, "_GRACE", 1)
    assert distributed.start_ranks(2, ["train"]) == code
    assert not Path("/proc", pid.read_text().strip()).exists()
