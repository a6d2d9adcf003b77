"""Caffe's command line on PyTorch:

    python -m fer.engines.pytorch train --solver solver.prototxt [--snapshot S | --weights W[,W2]] [--gpu 0,1|all]
    python -m fer.engines.pytorch test --model train_val.prototxt --weights W [--iterations 50]
    python -m fer.engines.pytorch time --model train_val.prototxt [--iterations 50]
    python -m fer.engines.pytorch predict --model deploy.prototxt --weights W --source images.npy
           --transform train_val.prototxt --out scores.npz [--ten-crop] [--gpu N]
    python -m fer.engines.pytorch average --model train_val.prototxt --weights W,W2[,...] --out W [--iterations N]
    python -m fer.engines.pytorch describe --model train_val.prototxt --phase TRAIN [--stage S ...] [--level L]
    python -m fer.engines.pytorch doctor | layers | gpu | device_query

`train --stage shuffle` (or that stage in the solver's train_state) reads each LMDB in a new order every epoch.
Options may also be written as Caffe's are: `-solver S`, `--solver=S`. SIGINT and SIGTERM stop a training after the
running iteration with a snapshot (exit code 130, 143), SIGHUP takes a snapshot and goes on.
"""

import argparse
import json
import platform
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import google.protobuf
import numpy as np
import torch

from fer.engines.pytorch import average, device, distributed, predict, score, signals
from fer.engines.pytorch.gpu_faults import gpu_fault
from fer.engines.pytorch.log import Log
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, known_types
from fer.engines.pytorch.solver import Setting, Solver
from fer.errors import FerError, UsageError
from fer.formats.prototxt import read_net, read_solver
from fer.schema import caffe_pb2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; its exit code. A fault that the user can mend becomes one fatal line in Caffe's format."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parse(words)
    arguments.words = words
    try:
        return VERBS[arguments.verb](arguments)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except FerError as error:
        Log().fatal("; ".join(str(error).splitlines()))
        return error.exit_code
    except RuntimeError as error:
        fault = gpu_fault(error)
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


def _train(arguments: argparse.Namespace) -> int:
    signals.stop_when_parent_dies()
    if arguments.snapshot and arguments.weights:
        raise UsageError("Give a snapshot to resume training or weights to finetune but not both.")
    param = read_solver(arguments.solver)
    param.train_state.level = arguments.level or param.train_state.level
    param.train_state.stage.extend(_stages(arguments))
    gpus = device.gpus_of(arguments.gpu or _gpu_of(param))
    ranks = distributed.Ranks()
    if ranks.alone and len(gpus) > 1:
        return distributed.start_ranks(len(gpus), arguments.words)
    log = Log(silent=ranks.rank != 0)
    log.info(f"Using GPUs {', '.join(map(str, gpus))}" if gpus else "Use CPU.", "caffe.cpp:1")
    watch = signals.Signals()
    watch.watch(arguments.sigint_effect, arguments.sighup_effect)
    here = ranks.device(gpus)
    device.set_up(here, arguments.precision)  # before NCCL, which takes the current device
    ranks.join(here)
    solver = Solver(
        param,
        arguments.solver,
        Setting(here, arguments.precision, ranks, watch, log),
        snapshot=arguments.snapshot,
        weights=arguments.weights.split(",") if arguments.weights else (),
    )
    code = solver.solve()
    ranks.wait()
    ranks.leave()
    return code


def _gpu_of(param: caffe_pb2.SolverParameter) -> str:
    """The GPU that the solver itself asks for; where it says nothing of a mode, one that is there."""
    if param.solver_mode != caffe_pb2.SolverParameter.GPU:
        return ""
    if not param.HasField("solver_mode") and not torch.cuda.is_available():
        return ""
    return str(param.device_id)


def _test(arguments: argparse.Namespace) -> int:
    here = _one_device(arguments)
    options = {"stages": _stages(arguments), "level": arguments.level, "device": here}
    score.test(arguments.model, arguments.weights, arguments.iterations, precision=arguments.precision, **options)
    return 0


def _time(arguments: argparse.Namespace) -> int:
    options = {"stages": _stages(arguments), "level": arguments.level, "device": _one_device(arguments)}
    phase = arguments.phase or "TRAIN"
    score.benchmark(arguments.model, arguments.iterations, phase=phase, precision=arguments.precision, **options)
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    predict.predict(
        arguments.model,
        Path(arguments.weights),
        arguments.source,
        arguments.transform,
        arguments.out,
        ten_crop=arguments.ten_crop,
        device=_one_device(arguments),
        precision=arguments.precision,
        progress=lambda done, total: print(f"predicted {done} of {total}", file=sys.stderr, flush=True),
    )
    return 0


def _average(arguments: argparse.Namespace) -> int:
    """Print, as JSON, the number of batches that the BatchNorm statistics are of (0: the net has none to make)."""
    batches = average.average(
        arguments.model,
        arguments.weights.split(","),
        arguments.out,
        iterations=arguments.iterations,
        stages=_stages(arguments),
        level=arguments.level,
        device=_one_device(arguments),
        precision=arguments.precision,
        progress=lambda done, total: print(f"passed {done} of {total}", file=sys.stderr, flush=True),
    )
    print(json.dumps({"batches": batches}))
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    """Print the net as JSON: params {layer: [shape, ...]}, blobs {name: shape}, types {layer: type}, versions."""
    context = Context(arguments.phase or "TEST")
    net = Net(
        read_net(arguments.model), context, stages=_stages(arguments), level=arguments.level, path=arguments.model
    )
    answer = {
        "params": {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()},
        "blobs": {name: list(shape) for name, shape in net.shapes.items()},
        "types": {node.name: node.type for node in net.nodes},
        "versions": _versions(),
    }
    print(json.dumps(answer))
    return 0


def _layers(_arguments: argparse.Namespace) -> int:
    print(json.dumps({"layer_types": sorted(known_types())}))
    return 0


def _doctor(_arguments: argparse.Namespace) -> int:
    answer = {
        **_versions(),
        "executable": sys.executable,
        "file": torch.__file__,
        "layer_types": sorted(known_types()),
        "gpu": torch.cuda.is_available(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "one_step_ok": _one_step(),
    }
    print(json.dumps(answer))
    return 0


def _gpu(arguments: argparse.Namespace) -> int:
    """Succeed when the GPUs of --gpu (else GPU 0) can be used."""
    for gpu in device.gpus_of(arguments.gpu or "0"):
        torch.ones(1, device=device.device_of(gpu)).sum().item()
        print(f"GPU {gpu}: {torch.cuda.get_device_name(gpu)}", file=sys.stderr)
    return 0


VERBS = {
    "train": _train,
    "test": _test,
    "time": _time,
    "predict": _predict,
    "average": _average,
    "describe": _describe,
    "layers": _layers,
    "doctor": _doctor,
    "gpu": _gpu,
    "device_query": _gpu,
}


def _versions() -> dict[str, str]:
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "protobuf": google.protobuf.__version__,
    }


_ONE_STEP = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" std: 1 } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def _one_step() -> bool:
    """Whether one solver step moves the weights and leaves them finite."""
    from google.protobuf import text_format

    param = caffe_pb2.SolverParameter(base_lr=0.1, lr_policy="fixed", max_iter=1, random_seed=1)
    param.snapshot_after_train = False
    text_format.Parse(_ONE_STEP, param.net_param)
    solver = Solver(param, "one_step.prototxt", Setting(log=Log(silent=True)))
    before = solver.net.params["ip"][0].detach().clone()
    solver.step(1)
    after = solver.net.params["ip"][0].detach()
    return bool(after.isfinite().all() and (after != before).any())


# ---- the command line


def _one_device(arguments: argparse.Namespace) -> torch.device:
    gpus = device.gpus_of(arguments.gpu)
    here = device.device_of(gpus[0] if gpus else None)
    device.set_up(here, arguments.precision)
    return here


def _stages(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(stage for text in arguments.stage for stage in text.split(",") if stage)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    # Caffe's own flags may have one dash.
    words = [f"-{word}" if re.match(r"-[a-z]\w", word) else word for word in words]
    parser = argparse.ArgumentParser(
        prog="python -m fer.engines.pytorch",
        description="Caffe's command line on PyTorch.",
        epilog="FER_TORCH_GRAPH=0 in the environment: train on a GPU without CUDA graphs (slower; to find a fault).",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(VERBS))
    for name in VERBS:
        verb = verbs.add_parser(name, allow_abbrev=False)
        verb.add_argument("--gpu", help="0, or 0,1, or all: batch size times the number of GPUs; default the CPU")
        if name in ("layers", "doctor", "gpu", "device_query"):
            continue
        verb.add_argument("--precision", choices=device.PRECISIONS, default="fp32")
        verb.add_argument("--stage", action="append", default=[], help="net stages, separated by commas")
        verb.add_argument("--level", type=int, default=0, help="net level")
        if name == "train":
            verb.add_argument("--solver", required=True)
            verb.add_argument("--snapshot", help="a .solverstate to go on from")
            verb.add_argument("--weights", help=".caffemodel files to start from, separated by commas")
            verb.add_argument("--sigint_effect", choices=signals.EFFECTS, default="stop")
            verb.add_argument("--sighup_effect", choices=signals.EFFECTS, default="snapshot")
        else:
            verb.add_argument("--model", type=Path, required=True)
        if name in ("time", "describe"):
            verb.add_argument("--phase", choices=("TRAIN", "TEST"), required=name == "describe")
        if name in ("test", "time"):
            verb.add_argument("--iterations", type=int, default=50)
        if name in ("test", "predict", "average"):
            verb.add_argument("--weights", required=True)
        if name == "average":
            verb.add_argument("--out", type=Path, required=True)
            verb.add_argument("--iterations", type=int, help="batches for BatchNorm's statistics; default: an epoch")
        if name == "predict":
            for option in ("source", "transform", "out"):
                verb.add_argument(f"--{option}", type=Path, required=True)
            verb.add_argument("--ten-crop", "--ten_crop", action="store_true")
    return parser.parse_args(words)
