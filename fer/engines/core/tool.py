"""Caffe's command line, for any framework; `python -m fer.engines.pytorch` is it on PyTorch:

    train --solver solver.prototxt [--snapshot S | --weights W[,W2]] [--gpu 0,1|all] [--precision P] [--ema DECAY]
    test --model train_val.prototxt --weights W [--iterations 50]
    time --model train_val.prototxt [--iterations 50]
    predict --model deploy.prototxt --source images.npy --transform 'crop_size: 42 mean_file: "M"' [--ten-crop]
            --weights W --out scores.npz [--weights W2 --out scores2.npz ...] [--gpu N]
    average --model train_val.prototxt --weights W,W2[,...] --out W [--iterations N]
    batch --model data_part.prototxt --phase TRAIN --out batch.npz [--seed N] [--stage S ...] [--level L]
    grad_cam --model deploy.prototxt --weights W --source images.npy --classes 3,5 --transform TEXT --out maps.npz
    describe --model train_val.prototxt --phase TRAIN [--stage S ...] [--level L]
    doctor | layers | gpu | device_query

`train --stage shuffle` (or that stage in the solver's train_state) reads each LMDB in a new order every epoch.
Options may also be written as Caffe's are: `-solver S`, `--solver=S`. SIGINT and SIGTERM stop a training after the
running iteration with a snapshot (exit code 130, 143), SIGHUP takes a snapshot and goes on.
"""

import argparse
import json
import platform
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import google.protobuf
import numpy as np
from google.protobuf import text_format

from fer.engines.caffe import ipc
from fer.engines.core.framework import Backend, Framework
from fer.engines.core.log import Log
from fer.engines.core.options import NO_OTHERS, OwnVerb, parse
from fer.engines.core.signals import Signals
from fer.engines.core.solver import Solver
from fer.engines.core.verbs.average import average
from fer.engines.core.verbs.batch import batch
from fer.engines.core.verbs.caffe_test import test
from fer.engines.core.verbs.caffe_time import benchmark
from fer.engines.core.verbs.grad_cam import grad_cam
from fer.engines.core.verbs.predict import predict
from fer.errors import FerError, UsageError
from fer.formats.prototxt import read_net, read_solver
from fer.nets.states import State
from fer.schema import caffe_pb2

Verb = Callable[[Framework, argparse.Namespace], int]


def main(framework: Framework, argv: Sequence[str] | None = None, *, others: Mapping[str, OwnVerb] = NO_OTHERS) -> int:
    """Run a verb, or one of the `others` that the framework has besides; its exit code.

    A fault that the user can mend becomes one fatal line in Caffe's format.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parse(framework, words, VERBS, others)
    arguments.words = words
    try:
        if other := others.get(arguments.verb):
            return other.run(arguments)
        return VERBS[arguments.verb](framework, arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except FerError as error:
        Log().fatal("; ".join(str(error).splitlines()))
        return error.exit_code
    except RuntimeError as error:
        fault = framework.fault(error)
        if fault is None:
            raise
        if fault.exit_code != 1:  # nobody but us can use where it happened
            traceback.print_exc()
        Log().fatal("; ".join(str(fault).splitlines()))
        return fault.exit_code
    except MemoryError:
        Log().fatal("not enough memory; try a smaller batch_size")
        return 1


# ---- verbs


def _train(framework: Framework, arguments: argparse.Namespace) -> int:
    ipc.stop_when_parent_dies()
    if arguments.snapshot and arguments.weights:
        raise UsageError("Give a snapshot to resume training or weights to finetune but not both.")
    param = read_solver(arguments.solver)
    param.train_state.level = arguments.level or param.train_state.level
    param.train_state.stage.extend(_stages(arguments))
    gpus = framework.gpus_of(arguments.gpu or _gpu_of(framework, param))
    if len(gpus) > 1 and (code := framework.start_ranks(len(gpus), arguments.words)) is not None:
        return code
    signals = Signals()
    signals.watch(arguments.sigint_effect, arguments.sighup_effect)
    backend = framework.join(gpus, arguments.precision)
    log = Log(silent=backend.ranks.rank != 0)
    log.info(f"Using GPUs {', '.join(map(str, gpus))}" if gpus else "Use CPU.", "caffe.cpp:1")
    named = [arguments.weights] if arguments.weights else param.weights
    weights = [] if arguments.snapshot else [name for names in named for name in names.split(",")]
    begin = {"snapshot": arguments.snapshot, "weights": weights}
    solver = Solver(param, arguments.solver, backend, log, signals, **begin, ema=arguments.ema)
    code = solver.solve()
    framework.leave(backend)
    return code


def _gpu_of(framework: Framework, param: caffe_pb2.SolverParameter) -> str:
    """The GPU that the solver itself asks for; where it says nothing of a mode, one that is there."""
    if param.solver_mode != caffe_pb2.SolverParameter.GPU:
        return ""
    if not param.HasField("solver_mode") and not framework.gpu_names():
        return ""
    return str(param.device_id)


def _test(framework: Framework, arguments: argparse.Namespace) -> int:
    backend = _on_one_device(framework, arguments)
    test(backend, arguments.model, arguments.weights, arguments.iterations, state=_state(arguments, "TEST"))
    return 0


def _time(framework: Framework, arguments: argparse.Namespace) -> int:
    backend = _on_one_device(framework, arguments)
    benchmark(backend, arguments.model, arguments.iterations, state=_state(arguments, arguments.phase or "TRAIN"))
    return 0


def _predict(framework: Framework, arguments: argparse.Namespace) -> int:
    if len(arguments.weights) != len(arguments.out):
        raise UsageError(f"{len(arguments.weights)} --weights and {len(arguments.out)} --out: each needs its own")
    predict(
        _on_one_device(framework, arguments),
        arguments.model,
        arguments.weights,
        arguments.source,
        _transform(arguments),
        arguments.out,
        ten_crop=arguments.ten_crop,
        progress=lambda done, total: ipc.say(ipc.Predicted(done, total)),
        answered=lambda done, total: ipc.say(ipc.Answered(done, total)),
    )
    return 0


def _transform(arguments: argparse.Namespace) -> caffe_pb2.TransformationParameter:
    try:
        return text_format.Parse(arguments.transform, caffe_pb2.TransformationParameter())
    except text_format.ParseError as error:
        raise FerError(f"--transform is no text of a TransformationParameter: {error}") from error


def _grad_cam(framework: Framework, arguments: argparse.Namespace) -> int:
    grad_cam(
        _on_one_device(framework, arguments),
        arguments.model,
        Path(arguments.weights),
        arguments.source,
        _transform(arguments),
        [int(number) for number in arguments.classes.split(",")],
        arguments.out,
    )
    return 0


def _batch(framework: Framework, arguments: argparse.Namespace) -> int:
    backend = _on_one_device(framework, arguments)
    batch(backend, arguments.model, arguments.out, state=_state(arguments, arguments.phase), seed=arguments.seed)
    return 0


def _average(framework: Framework, arguments: argparse.Namespace) -> int:
    """Print, as JSON, the number of batches that the BatchNorm statistics are of (0: the net has none to make)."""
    batches = average(
        _on_one_device(framework, arguments),
        arguments.model,
        arguments.weights.split(","),
        arguments.out,
        state=_state(arguments, "TRAIN"),
        iterations=arguments.iterations,
        progress=lambda done, total: ipc.say(ipc.Passed(done, total)),
    )
    print(json.dumps({"batches": batches}))
    return 0


def _describe(framework: Framework, arguments: argparse.Namespace) -> int:
    """Print the net as JSON: params {layer: [shape, ...]}, blobs {name: shape}, types {layer: type}, versions."""
    state = _state(arguments, arguments.phase)
    net = framework.on([], "fp32").net(read_net(arguments.model), state, path=arguments.model)
    answer = {
        "params": net.blob_shapes,
        "blobs": net.shapes,
        "types": {node.name: node.type for node in net.nodes},
        "versions": _versions(framework),
    }
    print(json.dumps(answer))
    return 0


def _layers(framework: Framework, _arguments: argparse.Namespace) -> int:
    print(json.dumps({"layer_types": sorted(framework.layer_types())}))
    return 0


def _doctor(framework: Framework, _arguments: argparse.Namespace) -> int:
    answer = {
        **_versions(framework),
        "executable": sys.executable,
        "file": framework.file,
        "layer_types": sorted(framework.layer_types()),
        "gpu": bool(framework.gpu_names()),
        "gpus": framework.gpu_names(),
        "one_step_ok": _one_step(framework),
    }
    print(json.dumps(answer))
    return 0


def _gpu(framework: Framework, arguments: argparse.Namespace) -> int:
    """Succeed when the GPUs of --gpu (else GPU 0) can be used."""
    for gpu in framework.gpus_of(arguments.gpu or "0"):
        framework.try_gpu(gpu)
        ipc.say(ipc.Gpu(gpu, framework.gpu_names()[gpu]))
    return 0


VERBS: dict[str, Verb] = {
    "train": _train,
    "test": _test,
    "time": _time,
    "predict": _predict,
    "average": _average,
    "batch": _batch,
    "grad_cam": _grad_cam,
    "describe": _describe,
    "layers": _layers,
    "doctor": _doctor,
    "gpu": _gpu,
    "device_query": _gpu,
}


def _versions(framework: Framework) -> dict[str, str]:
    python, protobuf = platform.python_version(), google.protobuf.__version__
    return {**framework.versions(), "python": python, "numpy": np.__version__, "protobuf": protobuf}


_ONE_STEP = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" std: 1 } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def _one_step(framework: Framework) -> bool:
    """Whether one solver step moves the weights and leaves them finite."""
    param = caffe_pb2.SolverParameter(base_lr=0.1, lr_policy="fixed", max_iter=1, random_seed=1)
    param.snapshot_after_train = False
    text_format.Parse(_ONE_STEP, param.net_param)
    solver = Solver(param, "one_step.prototxt", framework.on([], "fp32"), Log(silent=True), Signals())
    before = solver.net.blob("ip", 0).copy()
    solver.step(1)
    after = solver.net.blob("ip", 0)
    return bool(np.isfinite(after).all() and (after != before).any())


def _on_one_device(framework: Framework, arguments: argparse.Namespace) -> Backend:
    backend = framework.on(framework.gpus_of(arguments.gpu), arguments.precision)
    backend.set_up()
    return backend


def _state(arguments: argparse.Namespace, phase: str) -> State:
    return State(phase, _stages(arguments), arguments.level)


def _stages(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(stage for text in arguments.stage for stage in text.split(",") if stage)
