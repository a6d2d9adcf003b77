"""What is proved of a build before it is said to be one: it starts, and its numbers are those of the other engines."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fer.engines.caffe_build.builds import Build, environment_of
from fer.engines.engine import Engine
from fer.engines.interpreter import WORKER, clean_environment, engine_environment, find_wheel
from fer.engines.process import call
from fer.engines.pycaffe import PyCaffe
from fer.engines.pytorch_engine import PyTorch
from fer.errors import FerError
from fer.formats.blobs import from_blob
from fer.formats.database import DatabaseWriter, encode_datum
from fer.formats.log import parse_log
from fer.formats.prototxt import read_net, read_solver, read_weights, write_text
from fer.nets.zoo import find_net, find_solver
from fer.schema import caffe_pb2
from fer.system.files import scratch

CLOSE = 1e-4
LOSSES, LOSS_CLOSE = 20, 1e-5
_IMAGES, _SIZE, _CLASSES = 64, 48, 7
_NORM_NET = """
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.00390625 }
  data_param { source: "images" backend: LMDB batch_size: 16 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 8 kernel_size: 5 stride: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "scale" type: "Scale" bottom: "norm" top: "scale" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "scale" top: "scale" }
layer { name: "ip" type: "InnerProduct" bottom: "scale" top: "ip" inner_product_param {
  num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
_NORM_SOLVER = """
net: "net.prototxt" base_lr: 0.1 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" display: 1 max_iter: {}
snapshot_prefix: "{}" random_seed: 1 solver_mode: CPU
"""


def engine_of(build: Build) -> PyCaffe:
    """The build as an engine, whether or not it is the one that fer takes."""
    environment = engine_environment(environment_of(build, clean_environment()))
    command = (build.record.python, str(WORKER))
    return PyCaffe(command=command, environment=environment, built=True, gpu_build=build.record.kind == "gpu")


def engine_of_wheel() -> PyCaffe:
    """The wheel's Caffe as an engine, set up if need be. Raises FerError where it cannot be had."""
    found = find_wheel()
    return PyCaffe(command=(str(found.python), str(WORKER)), environment=found.environment)


def prove(build: Build, gpus: Sequence[int] = (), cpu: Build | None = None) -> Iterator[str]:
    """Prove it step by step; yields what was found, as sentences. Raises FerError where it is not as it must be.

    A GPU build trains only where there is a card, of those `gpus`, and is then held against the build `cpu`.
    """
    engine = engine_of(build)
    yield f"caffe --version: {_version(build, engine.environment)}"
    yield f"import caffe: {len(engine.layer_types())} layer types"
    if build.record.kind == "gpu" and not gpus:
        yield "no card is here: no training of the GPU build was tried"
        return
    with scratch("fer-proof-") as folder:
        write_images(folder / "images")
        if gpus and cpu is not None:
            query = [str(build.executable), "device_query", "-gpu", str(gpus[0])]
            call(query, engine.environment, folder, speaker=engine.title, task=f"asked about GPU {gpus[0]}")
            far = _norm_update(folder, engine_of(cpu), engine, gpus)
            yield f"BatchNorm's update on GPU {gpus[0]}: {far} from the CPU's"
            return
        yield _against_pytorch(folder, engine)
        yield _against_wheel(folder, engine)


def _version(build: Build, environment: Mapping[str, str]) -> str:
    said = subprocess.run(
        [build.executable, "--version"], env=dict(environment), capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if said.returncode or "caffe version" not in said.stdout:
        words = (said.stderr.strip().splitlines() or [f"exit code {said.returncode}"])[-1]
        raise FerError(f"{build.executable} does not start: {words}")
    return said.stdout.strip().splitlines()[0]


def write_images(path: Path) -> None:
    """An LMDB of random gray images, always the same."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (_IMAGES, 1, _SIZE, _SIZE), np.uint8)
    records = [(f"{i:08}".encode(), encode_datum(image, i % _CLASSES)) for i, image in enumerate(images)]
    with DatabaseWriter(path, len(records), sum(len(data) for _, data in records)) as writer:
        writer.append(records)


# ---- BatchNorm


def _against_pytorch(folder: Path, engine: Engine) -> str:
    try:
        other = PyTorch().set_up()
    except FerError:
        if not _statistics_move(folder, engine):
            raise FerError("the Caffe that was built does not train BatchNorm") from None
        return "BatchNorm's statistics move; its update was compared with nothing, as PyTorch is not installed"
    return f"BatchNorm's update: {_norm_update(folder, other, engine)} from the PyTorch engine's"


def _statistics_move(folder: Path, engine: Engine) -> bool:
    start = _train(folder, engine, "start", 0)
    before, after = _blobs(start), _blobs(_train(folder, engine, "moved", 1, weights=start))
    return all(bool(np.any(after[name] != before[name])) for name in before if name.startswith("norm/"))


def _norm_update(folder: Path, other: Engine, engine: Engine, gpus: Sequence[int] = ()) -> str:
    """How far the first update of a net with BatchNorm is from another engine's. Raises FerError beyond CLOSE."""
    start = _train(folder, engine, "start", 0, gpus)
    ours, theirs = (
        _blobs(_train(folder, each, name, 1, on, start)) for each, name, on in ((engine, "a", gpus), (other, "b", ()))
    )
    before = _blobs(start)
    far = max(
        float(np.abs(ours[name] - theirs[name]).max() / max(np.abs(theirs[name] - blob).max(), 1e-12))
        for name, blob in before.items()
    )
    if not far <= CLOSE:
        raise FerError(f"BatchNorm's update is {far:.1e} from {other.title}'s, which is more than {CLOSE:.0e}")
    return f"{far:.1e}"


def _train(
    folder: Path, engine: Engine, name: str, iterations: int, gpus: Sequence[int] = (), weights: Path | None = None
) -> Path:
    """The weights after so many iterations."""
    (folder / "net.prototxt").write_text(_NORM_NET, encoding="ascii")
    text = _NORM_SOLVER.format(iterations, name)
    (folder / "solver.prototxt").write_text(text.replace("CPU", "GPU") if gpus else text, encoding="ascii")
    _run(folder, engine, Path("solver.prototxt"), gpus, weights)
    return folder / f"{name}_iter_{iterations}.caffemodel"


def _blobs(path: Path) -> dict[str, np.ndarray]:
    return {
        f"{layer.name}/{i}": from_blob(blob, layer.name)
        for layer in read_weights(path).layer
        for i, blob in enumerate(layer.blobs)
    }


def _run(folder: Path, engine: Engine, solver: Path, gpus: Sequence[int], weights: Path | None) -> list[str]:
    lines: list[str] = []
    argv = engine.train_command(solver, gpus=gpus, weights=weights)
    call(argv, engine.train_environment, folder, lines.append, engine.title, "being proved")
    return lines


# ---- LeNet


def _against_wheel(folder: Path, engine: Engine) -> str:
    """LeNet's first losses against those of the wheel's Caffe. Raises FerError where they differ."""
    _write_lenet(folder)
    ours = _losses(_run(folder, engine, Path("lenet.prototxt"), (), None))
    try:
        wheel = engine_of_wheel()
    except FerError:
        return "LeNet's losses were compared with nothing, as the wheel's Caffe could not be had"
    theirs = _losses(_run(folder, wheel, Path("lenet.prototxt"), (), None))
    far = float(np.max(np.abs(ours - theirs) / theirs)) if ours.shape == theirs.shape else np.inf
    if not far <= LOSS_CLOSE:
        raise FerError(f"LeNet's first {LOSSES} losses are {far:.1e} from the wheel's, more than {LOSS_CLOSE:.0e}")
    return f"LeNet's first {LOSSES} losses: {far:.1e} from the wheel's"


def _write_lenet(folder: Path) -> None:
    """LeNet by its recommended rate, on the images, in small batches; nothing is drawn but its first weights."""
    net = read_net(find_net("lenet"))
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source, layer.data_param.batch_size = "images", 16
            layer.transform_param.ClearField("mean_file")
            layer.transform_param.ClearField("crop_size")
            layer.transform_param.mirror = False
    write_text(folder / "lenet_net.prototxt", net)
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(read_solver(find_solver("lenet", "s2")))
    solver.net, solver.snapshot_prefix = "lenet_net.prototxt", "lenet"
    solver.max_iter, solver.display, solver.random_seed = LOSSES, 1, 1
    solver.snapshot, solver.snapshot_after_train, solver.test_initialization = 0, False, False
    solver.test_interval, solver.test_iter[:] = 10**6, [1]
    solver.average_loss = 1
    write_text(folder / "lenet.prototxt", solver)


def _losses(lines: Sequence[str]) -> np.ndarray:
    return np.array([record.loss for record in parse_log(f"{line}\n" for line in lines).curve("train")], np.float64)
