"""What the tests of training share: a small drawn data set, a small net, the fake engine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.engines.caffe_executable import CaffeExecutable
from fer.engines.own_engine import OwnEngine
from fer.engines.process_engine import ProcessEngine
from fer.engines.pycaffe import PyCaffe
from fer.engines.pytorch_engine import PyTorch
from fer.engines.real_caffe import RealCaffe
from fer.engines.registry import ENGINES, find_engine
from fer.errors import FerError
from fer.formats.log import parse_log
from fer.nets.lint import KNOWN_LAYERS
from fer.runs.run import Run
from fer.runs.snapshots import verify_state, verify_weights
from fer.system.hashes import file_hash
from fer.training import resume as resuming
from fer.training import train as training
from fer.training.options import ResumeOptions, TrainOptions

Own = TypeVar("Own", bound=OwnEngine)
ROOT = Path(__file__).resolve().parent.parent
FAKE = Path(__file__).parent / "fake_caffe.py"
FAKE_COMMAND = (sys.executable, str(FAKE))
TRAIN_COUNT, VAL_COUNT = 70, 35
FAKE_SHAPES = {"ip": [[7, 4], [7]]}  # the parameters of the one layer that the fake engine knows

NET = """
name: "Small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 crop_size: 44 mirror: true mean_file: "mean.binaryproto" }
  data_param { source: "train_lmdb" backend: LMDB batch_size: 16 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 crop_size: 44 mean_file: "mean.binaryproto" }
  data_param { source: "val_lmdb" backend: LMDB batch_size: 7 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "hidden" type: "InnerProduct" bottom: "conv" top: "hidden"
  inner_product_param { num_output: 24 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "hidden" top: "hidden" }
layer { name: "ip" type: "InnerProduct" bottom: "hidden" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""

SOLVER = """net: "net.prototxt"
test_iter: 5
test_interval: 20
base_lr: 0.01
momentum: 0.9
lr_policy: "fixed"
display: 5
max_iter: 60
snapshot: 20
snapshot_prefix: "here"
"""


def make_data(folder: Path) -> Path:
    """A data directory of drawn faces: 70 in train, 35 in val and in test."""
    csv = folder / "sample.csv"
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_sample.py", csv, "--train", "10", "--test", "5"], check=True
    )
    prepare(csv, folder / "data", PrepareOptions(title="drawn sample"))
    return folder / "data"


def write_net(folder: Path, *, net: str = NET, **solver: object) -> tuple[Path, Path]:
    """net.prototxt and solver.prototxt, the solver's lines replaced by those given."""
    lines = dict(line.split(": ", 1) for line in SOLVER.splitlines()) | {k: str(v) for k, v in solver.items()}
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return folder / "net.prototxt", folder / "solver.prototxt"


class FakeEngine(ProcessEngine):
    """The stand-in, which has every layer type."""

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        return KNOWN_LAYERS


def fake_engine() -> FakeEngine:
    return FakeEngine("fake", FAKE_COMMAND, fake_environment())


def fake_pycaffe(own: bool = False) -> PyCaffe:
    """As pycaffe; `own`: one of the user's, of which nothing is known."""
    return PyCaffe(command=FAKE_COMMAND, environment=fake_environment(), own=own)


def fake_with_tool() -> CaffeExecutable:
    """As FER_CAFFE makes it: a user's own executable trains, the worker does the rest."""
    executable = Path(os.environ["FER_CAFFE"])
    return CaffeExecutable(command=FAKE_COMMAND, environment=fake_environment(), executable=executable)


def fake_own(own: type[Own], **facts: Any) -> Own:
    return own(command=FAKE_COMMAND, environment=fake_environment(), **facts)


def fake_pytorch(**facts: Any) -> PyTorch:
    return fake_own(PyTorch, **facts)


def real_caffe() -> RealCaffe:
    engine = find_engine("caffe")
    assert isinstance(engine, RealCaffe)
    return engine


def fake_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def fake_executable(folder: Path) -> Path:
    """A program like `caffe`, for FER_CAFFE."""
    path = folder / "caffe"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {FAKE} "$@"\n')
    path.chmod(0o755)
    return path


def start_training(folder: Path, data: Path, engine: str, **environment: str) -> subprocess.Popen[str]:
    """Train folder's net (or go on, where it has a run) in a process of its own, to be sent signals."""
    return subprocess.Popen(
        [sys.executable, __file__, folder, data, engine],
        env={**fake_environment(), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the condition holds; fail when the process ends before."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def wait_for_log(folder: Path, text: str, process: subprocess.Popen[str]) -> None:
    """Wait until the log of the training that `start_training` began holds the text."""
    log = folder / "runs" / "run" / "train.log"
    wait_for(lambda: log.exists() and text in log.read_text(errors="replace"), process)


def child_of(process: subprocess.Popen[str]) -> int:
    """The pid of the engine that a training process has started."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1])


def running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def train(net: Any, solver: Any, data: Path, progress: Any = None, **options: Any) -> Run:
    """`fer.training.train`, told the options one by one."""
    return training.train(net, solver, data, TrainOptions(**options), progress)


def resume(run_dir: Path, progress: Any = None, **options: Any) -> Run:
    """`fer.training.resume`, told the options one by one."""
    return resuming.resume(run_dir, ResumeOptions(**options), progress)


def train_small(folder: Path, data: Path, **options: Any) -> Run:
    """Train the small net with the fake engine in folder/runs."""
    solver = {k: v for k, v in options.items() if k in ("max_iter_in_solver", "snapshot", "snapshot_format", "base_lr")}
    net, solver_path = write_net(folder, **solver)
    rest = {k: v for k, v in options.items() if k not in solver}
    return train(net, solver_path, data, **{"engine": "fake", "seed": 1, "runs_dir": folder / "runs", **rest})


def assert_intact(run: Run) -> None:
    """Every snapshot listed is whole, hashed, and its state names its weights; nothing unverified is left."""
    for snapshot in run.snapshots():
        assert snapshot.state is not None
        files = run.record.snapshots[snapshot.iteration]
        assert files.state is not None
        assert files.weights.sha256 == file_hash(snapshot.weights)
        assert files.state.sha256 == file_hash(snapshot.state)
        weights = verify_weights(snapshot.weights, FAKE_SHAPES)
        state = verify_state(snapshot.state, snapshot.iteration, weights, "SGD")
        assert state.learned_net == f"snapshots/{snapshot.weights.name}"
    named = {path.name for path in (run.dir / "snapshots").glob("*_iter_*")}
    assert named == {path.name for snapshot in run.snapshots() for path in snapshot.files}
    assert not list(run.unverified_dir.glob("*_iter_*"))


def numbers(run: Run, phase: str) -> list[tuple[int, float | None, dict[str, float]]]:
    """What the log shows of each iteration; of one shown twice (before a stop, after it) both."""
    return [(record.iteration, record.loss, record.outputs) for record in parse_log(run.log).curve(phase)]


def assert_same_training(run: Run, whole: Run) -> None:
    """The same losses to the last printed digit, and the same bytes in the end."""
    assert run.record.state == "finished"
    assert numbers(run, "train") == numbers(whole, "train")
    assert numbers(run, "test") == numbers(whole, "test")
    end = whole.snapshots()[-1].iteration
    assert file_hash(run.weights_file(end)) == file_hash(whole.weights_file(end))
    assert file_hash(run.state_file(end)) == file_hash(whole.state_file(end))


def assert_nothing_left(folder: Path) -> None:
    assert not (folder / "runs").exists() or not list((folder / "runs").iterdir())


def main(folder: Path, data: Path, engine: str) -> int:
    ENGINES.update(fake=fake_engine, own=fake_with_tool)
    # As under the command line, a signal that comes after the training has ended ends no process.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        if (folder / "runs" / "run").exists():
            resume(folder / "runs" / "run")
        else:
            train(
                folder / "net.prototxt", folder / "solver.prototxt", data,
                name="run", seed=1, engine=engine, runs_dir=folder / "runs",
            )  # fmt: skip
    except FerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stderr.flush()
    os._exit(code)  # an interpreter that shuts down has no handlers any more, and a late signal would be its end
