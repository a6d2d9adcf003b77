"""Which engine trains, on which GPUs, in which precision, and what run.json says of it."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import training
from training import resume, train
from training import train_small as start

from fer.engines.caffe_executable import CaffeExecutable
from fer.engines.choice import Wish, choose_engine, demand_of
from fer.engines.engine import Engine
from fer.engines.own_engine import OwnEngine
from fer.engines.pycaffe import PyCaffe
from fer.engines.pytorch_engine import PyTorch
from fer.engines.registry import ENGINES, find_engine, users_own_caffe
from fer.engines.tensorflow_engine import TensorFlow
from fer.errors import FerError, UsageError
from fer.formats.prototxt import read_net, read_solver
from fer.nets.lint import KNOWN_LAYERS
from fer.runs.record import EngineChange, EngineSettings
from fer.runs.run import Run
from fer.runs.snapshots import SnapshotFault, verify_extra
from fer.system.hardware import physical_cores
from fer.system.shell import command, pip_install
from fer.training import engine as train_engine
from fer.training import events


@pytest.fixture(autouse=True)
def fakes(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine is the fake one."""
    monkeypatch.setitem(ENGINES, "caffe", lambda: training.fake_pycaffe(own=users_own_caffe()))
    monkeypatch.setitem(ENGINES, "pytorch", training.fake_pytorch)
    monkeypatch.setitem(ENGINES, "tensorflow", lambda: training.fake_own(TensorFlow))


# ---- auto


@pytest.mark.parametrize(
    ("gpu", "precision", "users_caffe", "fault", "name", "why"),
    [
        (None, "fp32", False, "", "caffe", "Caffe, on the CPU"),
        ("0", "fp32", False, "", "pytorch", "PyTorch, on GPU 0, which the Caffe found cannot use"),
        ("0", "fp32", True, "", "caffe", "Caffe, on GPU 0"),
        ("0", "fp32", True, "no-gpu", "pytorch", "PyTorch, on GPU 0, which"),
        ("0,1", "fp32", True, "", "pytorch", "PyTorch, on GPU 0,1, which"),
        (None, "bf16", False, "", "pytorch", "PyTorch, for bf16"),
    ],
)
def test_auto_is_caffe_but_for_what_it_cannot_do(
    monkeypatch: pytest.MonkeyPatch,
    gpu: str | None,
    precision: str,
    users_caffe: bool,
    fault: str,
    name: str,
    why: str,
) -> None:
    if users_caffe:
        monkeypatch.setenv("FER_CAFFE_PYTHON", sys.executable)
    monkeypatch.setenv("FAKE_FAULT", fault)
    said: list[str] = []
    assert choose_engine(Wish(gpu, precision), said.append).name == name
    assert len(said) == 1 and said[0].startswith(f"engine: {why}")


NORM = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "relu"'
WITH_NORM = training.NET.replace('layer { name: "relu"', NORM)
NOT_TRAINED = r"does not train BatchNorm \(layer 'bn'\)"


def train_net(folder: Path, data: Path, net: str = WITH_NORM, **options: Any) -> Run:
    files = training.write_net(folder, net=net, max_iter=20, type=options.pop("type", '"SGD"'))
    return train(*files, data, runs_dir=folder / "runs", **{"seed": 1, **options})


@pytest.mark.full
@pytest.mark.parametrize("own", [False, True], ids=["the wheel", "FER_CAFFE_PYTHON"])
def test_auto_asks_caffe_whether_its_batch_norm_trains(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setitem(ENGINES, "caffe", lambda: training.fake_pycaffe(own=own))
    told: list[object] = []
    assert train_net(tmp_path, data, engine="auto").record.engine == "caffe"
    monkeypatch.setenv("FAKE_FAULT", "no-batch-norm")
    run = train_net(tmp_path, data, engine="auto", progress=told.append)
    assert run.record.engine == "pytorch"
    assert told[0] == events.Setup("engine: PyTorch, as the Caffe found does not train BatchNorm (layer 'bn')")
    assert train_net(tmp_path, data, training.NET, engine="auto").record.engine == "caffe"
    fixed = WITH_NORM.replace(
        'top: "conv" }\nlayer', 'top: "conv" batch_norm_param { use_global_stats: true } }\nlayer'
    )
    assert train_net(tmp_path, data, fixed, engine="auto").record.engine == "caffe"
    with pytest.raises(FerError, match=rf"net\.prototxt: Caffe {NOT_TRAINED}\ntake --engine pytorch, or build a Caffe"):
        train_net(tmp_path, data, engine="caffe", name="refused")
    assert not (tmp_path / "runs" / "refused").exists()


POOLED = """layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: STOCHASTIC kernel_size: 2 } }
"""


@pytest.mark.parametrize(
    "pool",
    [POOLED, POOLED.replace("Pooling", "SPP").replace("pooling", "spp").replace("kernel_size", "pyramid_height")],
)
def test_real_caffe_pools_by_chance_on_gpus_alone(tmp_path: Path, data: Path, pool: str) -> None:
    """Its CPU code ends there at the first iteration: "Not Implemented Yet"."""
    net_path, solver_path = training.write_net(tmp_path, net=training.NET + pool)
    net, solver = read_net(net_path), read_solver(solver_path)
    caffe = find_engine("caffe")
    assert caffe.shortfall(demand_of(net, solver)) == "has STOCHASTIC pooling (layer 'pool') on GPUs alone"
    assert caffe.shortfall(demand_of(net, solver, on_gpu=True)) is None
    with pytest.raises(FerError, match=r"Caffe has STOCHASTIC pooling \(layer 'pool'\) on GPUs alone\ntake --engine"):
        train_net(tmp_path, data, training.NET + pool, engine="caffe")
    assert choose_engine(Wish(demand=demand_of(net, solver)), lambda line: None).name == "pytorch"


def test_auto_without_pytorch_says_what_caffe_lacks_and_both_cures(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-batch-norm")
    for own in OWN:
        monkeypatch.setitem(ENGINES, own().name, own)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FerError, match=rf"{NOT_TRAINED}; the PyTorch engine needs torch.*\n.*torch h5py\n.*FER_CAFFE"):
        train_net(tmp_path, data, engine="auto")
    training.assert_nothing_left(tmp_path)


def test_auto_takes_tensorflow_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", PyTorch)
    said: list[str] = []
    wish = Wish(precision="bf16")
    assert choose_engine(wish, said.append).name == "pytorch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    assert choose_engine(wish, said.append).name == "tensorflow"
    assert said[1] == "engine: TensorFlow, for bf16"
    with pytest.raises(FerError, match="the PyTorch engine needs torch"):
        choose_engine(Wish(precision="tf32"), said.append)


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "change", "why"),
    [
        ("no-type", {}, "has no layer type Dropout"),
        ("no-solver", {"type": '"Adam"'}, r"does not train with the solver type Adam \(.*Unknown solver type"),
    ],
)
@pytest.mark.parametrize("tool", [False, True], ids=["FER_CAFFE_PYTHON", "FER_CAFFE"])
def test_a_caffe_of_the_users_is_asked_for_its_types(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: bool,
    fault: str,
    change: dict[str, Any],
    why: str,
) -> None:
    monkeypatch.setenv("FER_CAFFE", str(training.fake_executable(tmp_path)))
    monkeypatch.setitem(ENGINES, "caffe", training.fake_with_tool if tool else lambda: training.fake_pycaffe(own=True))
    assert train_net(tmp_path, data, training.NET, engine="auto", **change).record.engine == "caffe"
    monkeypatch.setenv("FAKE_FAULT", fault)
    told: list[events.Setup] = []
    run = train_net(tmp_path, data, training.NET, engine="auto", progress=told.append, **change)
    assert run.record.engine == "pytorch" and re.match(f"engine: PyTorch, as the Caffe found {why}", told[0].message)


def test_where_no_caffe_can_be_had_auto_takes_pytorch_but_not_for_a_wrong_name(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCaffe(PyCaffe):
        def set_up(self, say: object = None) -> Self:
            raise FerError("real Caffe could not be set up: no network\nthe cure")

    monkeypatch.setitem(ENGINES, "caffe", lambda: NoCaffe(own=users_own_caffe()))
    told: list[object] = []
    assert train_net(tmp_path, data, training.NET, progress=told.append).record.engine == "pytorch"
    assert told[0] == events.Setup("engine: PyTorch, as real Caffe could not be set up: no network")
    monkeypatch.setenv("FER_CAFFE_PYTHON", "/no/python")
    with pytest.raises(FerError, match="could not be set up"):
        train_net(tmp_path, data, training.NET)


def test_a_run_of_caffe_goes_on_where_it_can(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Caffe that began it may be another one than that found now."""
    run = train_net(tmp_path, data, engine="caffe")
    monkeypatch.setenv("FAKE_FAULT", "no-batch-norm")
    with pytest.raises(FerError, match=NOT_TRAINED):
        resume(run.dir, max_iter=40, engine="caffe")
    told: list[object] = []
    run = resume(run.dir, max_iter=40, progress=told.append)
    assert (run.record.engine, run.record.changes[0].before.engine) == ("pytorch", "caffe")
    assert told[0] == events.Setup("engine: PyTorch, as the Caffe found does not train BatchNorm (layer 'bn')")
    assert resume(run.dir, max_iter=60).record.engine == "pytorch"


# ---- precision


@pytest.mark.parametrize(
    ("native", "asked", "engine", "gpu", "made"),
    [
        (True, "auto", "auto", None, ("pytorch", "bf16")),
        (False, "auto", "auto", None, ("caffe", "fp32")),
        (False, "auto", "pytorch", None, ("pytorch", "fp32")),
        (True, "auto", "caffe", None, ("caffe", "fp32")),
        (False, "auto", "pytorch", 0, ("pytorch", "bf16")),
        (False, "bf16", "auto", None, ("pytorch", "bf16")),
        (False, "bf16", "auto", 0, ("pytorch", "bf16")),
        (True, "bf16", "auto", None, ("pytorch", "bf16")),
    ],
)
def test_bf16_on_a_processor_that_only_emulates_it_is_warned_of(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    native: bool,
    asked: str,
    engine: str,
    gpu: int | None,
    made: tuple[str, str],
) -> None:
    monkeypatch.setattr(train_engine, "native_bf16", lambda: native)
    told: list[object] = []
    run = start(tmp_path, data, engine=engine, precision=asked, gpu=gpu, max_iter=20, progress=told.append)
    assert (run.record.engine, run.record.precision) == made
    warned = [event.text for event in told if isinstance(event, events.Notice) and "only emulates bf16" in event.text]
    assert bool(warned) == (asked == "bf16" and not native and gpu is None)


def test_auto_tells_before_the_training(tmp_path: Path, data: Path) -> None:
    told: list[object] = []
    run = start(tmp_path, data, engine="auto", max_iter=5, progress=told.append)
    assert told[0] == events.Setup("engine: Caffe, on the CPU")
    assert (run.record.engine, run.record.precision, run.record.gpu) == ("caffe", "fp32", None)


# ---- our own engines

OWN = (PyTorch, TensorFlow)


@pytest.mark.parametrize("own", OWN)
def test_ours_are_processes_of_this_python_with_every_physical_core(
    monkeypatch: pytest.MonkeyPatch, own: type[OwnEngine]
) -> None:
    engine = own().set_up()
    assert engine.command == (sys.executable, "-m", f"fer.engines.{engine.name}") and engine.resumes_exactly
    assert engine.threads == str(physical_cores()) and 1 <= physical_cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv(own.threads_variable, "3")
    assert own().set_up().threads == "3"


@pytest.mark.parametrize(("own", "package"), [(PyTorch, "torch"), (TensorFlow, "tensorflow-cpu")])
def test_without_the_framework_the_cure_is_told(
    monkeypatch: pytest.MonkeyPatch, own: type[OwnEngine], package: str
) -> None:
    """The hint installs into the very Python that runs fer, whatever folder one is in."""
    found = {own.framework: None, "pip": object()}
    monkeypatch.setattr(importlib.util, "find_spec", found.__getitem__)
    with pytest.raises(FerError) as problem:
        own().set_up()
    assert str(problem.value).splitlines()[-1] == command(sys.executable, "-m", "pip", "install", package, "h5py")
    found["pip"] = None  # as in an environment that uv made
    assert pip_install(package) == command(
        sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, package
    )


def test_starting_them_imports_no_framework() -> None:
    code = (
        "import sys, fer.cli, fer.training.train, fer.commands.findings, fer.engines.registry as r; "
        "[r.find_engine(name) for name in ('pytorch', 'tensorflow')]; "
        "print({'torch', 'tensorflow', 'keras'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.full
@pytest.mark.parametrize("own", OWN)
def test_they_lack_the_types_they_say_and_no_others(own: type[OwnEngine]) -> None:
    pytest.importorskip(own.framework)
    assert KNOWN_LAYERS - own().set_up().layer_types() - {"Python"} == own().lacks


@pytest.mark.parametrize("own", OWN)
def test_a_layer_it_lacks_is_named_with_its_line_and_the_engines_that_have_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, own: type[OwnEngine]
) -> None:
    monkeypatch.setitem(ENGINES, own().name, lambda: training.fake_own(own, lacks=frozenset({"LSTM"})))
    net = training.NET.replace('"hidden" type: "InnerProduct"', '"hidden" type: "LSTM"')
    net_path, solver = training.write_net(tmp_path, net=net)
    with pytest.raises(
        FerError, match=rf"net\.prototxt:12: .*{own.title} has no layer type 'LSTM'; take --engine caffe"
    ):
        train(net_path, solver, data, engine=own().name, runs_dir=tmp_path / "runs")
    training.assert_nothing_left(tmp_path)


def test_on_a_gpu_auto_names_the_layer_that_pytorch_has_not(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = training.NET.replace('"hidden" type: "InnerProduct"', '"hidden" type: "LSTM"')
    why = r"PyTorch, on GPU 0, which the Caffe found cannot use, has no layer type LSTM\ntake --engine caffe"
    with pytest.raises(FerError, match=why):
        train_net(tmp_path, data, net, engine="auto", gpu=0)
    training.assert_nothing_left(tmp_path)


def test_caffe_has_one_precision(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--precision bf16: Caffe trains in fp32 only; take --engine pytorch"):
        start(tmp_path, data, engine="caffe", precision="bf16")
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    run = start(tmp_path, data, engine="pytorch", precision="bf16", max_iter=5)
    assert run.record.precision == "bf16" and arguments(tmp_path, "train")[0][-2:] == ["--precision", "bf16"]


# ---- GPUs


def arguments(folder: Path, verb: str) -> list[list[str]]:
    return [argv for argv in map(json.loads, (folder / "argv").read_text().splitlines()) if argv[0] == verb]


@pytest.mark.full
def test_several_gpus_each_take_the_net_s_batch(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    run = start(tmp_path, data, engine="pytorch", gpu="0,1", max_iter=5)
    assert arguments(tmp_path, "gpu")[0] == ["gpu", "--gpu", "0,1"]
    assert arguments(tmp_path, "train")[0][-2:] == ["--gpu", "0,1"]
    assert (run.record.gpu, run.record.batch_size) == ("0,1", 32)
    solver = read_solver(run.solver)
    assert (solver.solver_mode, solver.device_id) == (solver.GPU, 0)
    with pytest.raises(FerError, match="2 times its net's batch_size an iteration; with --gpu 1 it would be 1 times"):
        resume(run.dir, max_iter=10, gpu=1)
    assert resume(run.dir, max_iter=10).record.gpu == "0,1"


def test_all_gpus_are_asked_for_by_number(tmp_path: Path) -> None:
    def answer(text: str) -> Engine:
        return PyTorch(
            command=(sys.executable, "-c", f"import sys; print({text!r}, file=sys.stderr)"), environment=os.environ
        )

    assert answer("GPU 0: An A\nGPU 1: A B").check_gpus("all") == (0, 1)
    queried = "I0101 caffe.cpp:1] Querying GPUs all\nI] Device id:                     3"
    executable = tmp_path / "caffe"
    executable.write_text(f"#!/bin/sh\necho '{queried}' >&2\n")
    executable.chmod(0o755)
    assert CaffeExecutable(environment=os.environ, executable=executable).check_gpus("all") == (3,)
    with pytest.raises(FerError, match="name them, as --gpu 0,1"):
        answer("").check_gpus("all")


@pytest.mark.parametrize("gpu", ["0,1", "all"])
@pytest.mark.parametrize(("name", "title"), [("caffe", "pycaffe"), ("tensorflow", "TensorFlow")])
def test_some_take_one_gpu(name: str, title: str, gpu: str) -> None:
    with pytest.raises(FerError, match=rf"(?s){title} trains on one GPU.*--engine pytorch"):
        find_engine(name).check_gpus(gpu)


@pytest.mark.parametrize("gpu", ["", "x", "0,0", "-1", "0,"])
def test_gpus_that_are_no_numbers(gpu: str) -> None:
    with pytest.raises(UsageError, match="give numbers"):
        training.fake_pytorch().check_gpus(gpu)


def test_a_gpu_that_is_not_there(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-gpu")
    with pytest.raises(FerError, match=r"(?s)--gpu 0: PyTorch cannot use it; .*take --gpu none"):
        start(tmp_path, data, engine="pytorch", gpu=0)
    training.assert_nothing_left(tmp_path)


# ---- going on with another engine


def test_what_a_gpu_began_goes_on_on_the_cpu(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path, data, engine="pytorch", gpu=0, max_iter=20)
    assert run.record.gpu == 0
    monkeypatch.setenv("FAKE_FAULT", "no-gpu")
    with pytest.raises(FerError, match=r"(?s)--gpu 0: PyTorch cannot use it; .*take --gpu none"):
        resume(run.dir, max_iter=40)
    run = resume(run.dir, max_iter=40, gpu="none")
    assert (run.record.gpu, run.record.iteration, run.record.changes[0].before.gpu) == (None, 40, 0)


def test_a_run_goes_on_with_its_own_engine(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, engine="pytorch", precision="tf32", max_iter=20)
    run = resume(run.dir, max_iter=40)
    assert (run.record.engine, run.record.precision) == ("pytorch", "tf32") and not run.record.changes


def test_a_run_may_go_on_with_another_engine_and_says_so(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, engine="caffe", max_iter=20)
    run = resume(run.dir, max_iter=40, engine="pytorch", precision="bf16", gpu=1)
    assert run.record.engine == "pytorch" and run.record.repeatable.startswith("no: from iteration 20")
    before, after = EngineSettings("caffe", None, "fp32"), EngineSettings("pytorch", 1, "bf16")
    assert run.record.changes == (EngineChange(20, before, after),)
    assert set(run.record.versions) == {"fer", "caffe", "pytorch"}
    solver = read_solver(run.solver)
    assert (solver.solver_mode, solver.device_id, solver.max_iter) == (solver.GPU, 1, 40)
    training.assert_intact(run)
    resume(run.dir, max_iter=60)  # the new solver's hash is known
    with pytest.raises(UsageError, match="Caffe trains in fp32 only"):
        resume(run.dir, max_iter=80, engine="caffe")


# ---- what the PyTorch engine keeps beside a state


def with_extra(run: Run, iteration: int, spoil: Callable[[bytes], bytes] = bytes) -> Path:
    path = run.extra_file(iteration)
    np.savez(path, iteration=np.array(iteration), cursor=np.arange(1000))
    path.write_bytes(spoil(path.read_bytes()))
    return path


def test_an_extra_is_taken_in_hashed_and_must_stay_as_it_was(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, engine="pytorch", max_iter=40)
    files = run.snapshots()[-1].files
    run.update(state="training", iteration=20, snapshots={20: run.record.snapshots[20]})
    for path in (*files, with_extra(run, 40)):
        path.rename(run.unverified_dir / path.name)
    run = resume(run.dir, max_iter=60)
    snapshot = next(known for known in run.snapshots() if known.iteration == 40)
    assert snapshot.extra == run.extra_file(40) and snapshot.extra.is_file()
    training.assert_intact(run)
    run.update(snapshots={40: run.record.snapshots[40]})
    snapshot.extra.unlink()
    told: list[object] = []
    with pytest.raises(FerError, match="no intact snapshot"):
        resume(run.dir, max_iter=80, progress=told.append)
    assert any("fer.npz is missing" in event.text for event in told if isinstance(event, events.Notice))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-30], "damaged"),
        (lambda data: b"", "damaged"),
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "damaged"),
    ],
    ids=["cut", "empty", "a bit"],
)
def test_a_damaged_extra_is_refused(tmp_path: Path, data: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    path = with_extra(start(tmp_path, data, engine="pytorch", max_iter=5), 5, spoil)
    with pytest.raises(SnapshotFault, match=message):
        verify_extra(path, 5)


def test_an_extra_of_another_iteration_is_refused(tmp_path: Path, data: Path) -> None:
    path = with_extra(start(tmp_path, data, engine="pytorch", max_iter=5), 5)
    verify_extra(path, 5)
    with pytest.raises(SnapshotFault, match="is of iteration 5"):
        verify_extra(path, 6)
