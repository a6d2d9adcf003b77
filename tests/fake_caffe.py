"""A stand-in for an engine, or for a user's own `caffe` executable: Caffe's log and snapshots, nothing learnt.

It appends its arguments to $FAKE_ARGV, takes $FAKE_SECONDS an iteration, has the accuracies $FAKE_ACCURACIES
(of iteration 0, of the next test, ...; the last one stays) and goes wrong as $FAKE_FAULT says:
nan, explode, fatal, full-disk, killed, quiet, cut-weights, cut-state, no-ema, nan-weights, empty-weights, nan-probs,
short-probs, second-nan, second-killed (at a predict's second answer), nan-average, no-batch-norm, no-type, no-solver,
bad-layer.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from fer.formats.log_lines import (
    Done,
    Fatal,
    Iteration,
    LogWriter,
    Lr,
    Resuming,
    Snapshotting,
    SnapshottingState,
    StoppedEarly,
)
from fer.formats.log_lines import Testing as TestingNet
from fer.formats.log_lines import TestOutput as TestNetOutput
from fer.nets.lint import KNOWN_LAYERS
from fer.schema import caffe_pb2

SHAPES = {"ip": [[7, 4], [7]]}
FAULT = os.environ.get("FAKE_FAULT", "")
FATAL = {
    "fatal": "Check failed: error == cudaSuccess (2 vs. 0)  out of memory",
    "full-disk": "Check failed: proto.SerializeToOstream(&output) ",
}
ACCURACIES = [float(word) for word in os.environ.get("FAKE_ACCURACIES", "0.5").split(",")]
log = LogWriter(sys.stderr)


def parameters(value: float) -> list[caffe_pb2.BlobProto]:
    shapes = SHAPES["ip"]
    return [
        caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=shape), data=np.full(shape, value).ravel())
        for shape in shapes
    ]


def batch_norm() -> caffe_pb2.LayerParameter:
    """As one iteration leaves it; one that does not train is as it was."""
    count = 0.0 if FAULT == "no-batch-norm" else 1.0
    blobs = [caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[1]), data=[value]) for value in (0.5, 0.5, count)]
    return caffe_pb2.LayerParameter(name="norm", type="BatchNorm", blobs=blobs)


def write_average(path: Path) -> None:
    blobs = parameters(float("nan") if FAULT == "nan-average" else 0.25)
    net = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="ip", type="InnerProduct", blobs=blobs)])
    path.write_bytes(net.SerializeToString())


def snapshot(solver: caffe_pb2.SolverParameter, iteration: int, ema: bool) -> None:
    prefix = solver.snapshot_prefix
    norms = [batch_norm()] if any(layer.type == "BatchNorm" for layer in solver.net_param.layer) else []
    history = parameters(0) * (2 if solver.type in ("Adam", "AdaDelta") else 1)
    weights, state = Path(f"{prefix}_iter_{iteration}.caffemodel"), Path(f"{prefix}_iter_{iteration}.solverstate")
    value = float("nan") if FAULT == "nan-weights" else 0.5
    net = caffe_pb2.NetParameter(
        layer=[caffe_pb2.LayerParameter(name="ip", type="InnerProduct", blobs=parameters(value)), *norms]
    )
    data = b"" if FAULT == "empty-weights" else net.SerializeToString()
    if ema and FAULT != "no-ema":
        write_average(Path(f"{prefix}_ema_{iteration}.caffemodel"))
    log(Snapshotting(str(weights)))
    weights.write_bytes(data[:-9] if FAULT == "cut-weights" else data)
    log(SnapshottingState(str(state)))
    data = caffe_pb2.SolverState(
        iter=iteration, learned_net=str(weights), history=history, current_step=0
    ).SerializeToString()
    # current_step is the last two bytes: without them the file still parses.
    state.write_bytes(data[:-2] if FAULT == "cut-state" else data)


def layer_types() -> list[str]:
    return sorted(KNOWN_LAYERS - ({"Dropout"} if FAULT == "no-type" else set()))


def train(args: argparse.Namespace) -> int:
    solver = text_format.Parse(Path(args.solver).read_text(), caffe_pb2.SolverParameter())
    if any(layer.type == "NoSuchType" for layer in solver.net_param.layer):
        types = f"(known types: {', '.join(layer_types())})"
        log(Fatal(f"Check failed: registry.count(type) == 1 (0 vs. 1) Unknown layer type: NoSuchType {types}"))
        return 134
    if FAULT == "no-solver" and solver.net_param.layer and solver.type != "SGD":  # when only asked
        log(Fatal(f"Check failed: registry.count(type) == 1 (0 vs. 1) Unknown solver type: {solver.type}"))
        return 134
    asked: list[int] = []
    ema = args.ema is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: asked.append(number))
    start = 0
    if args.snapshot:
        log(Resuming(args.snapshot))
        start = caffe_pb2.SolverState.FromString(Path(args.snapshot).read_bytes()).iter
    for i in range(start, solver.max_iter):
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        while asked:
            received = asked.pop(0)
            snapshot(solver, i, ema)
            if received != signal.SIGHUP:
                log(StoppedEarly())
                return 0 if args.sigint_effect else 128 + received
        if solver.test_interval and i % solver.test_interval == 0:
            log(TestingNet(i))
            test = min(i // solver.test_interval, len(ACCURACIES) - 1)
            log(TestNetOutput(0, "accuracy", ACCURACIES[test]))
        if solver.display and i % solver.display == 0:
            late = i >= 2 * solver.display
            loss = float("nan") if FAULT == "nan" and late else 1e6 if FAULT == "explode" and late else 1.0
            log(Iteration(i, loss, 10.0, 1.0, solver.display))
            log(Lr(i, solver.base_lr))
            if FAULT in FATAL and late:
                log(Fatal(FATAL[FAULT]))
                os.kill(os.getpid(), signal.SIGABRT)
            if FAULT == "ours" and late:
                log(Fatal("CUDA error: an illegal memory access was encountered"))
                return 70
            if FAULT == "killed" and late:
                os.kill(os.getpid(), signal.SIGKILL)
            if FAULT == "quiet" and late:
                return 0
        if solver.snapshot and (i + 1) % solver.snapshot == 0:
            snapshot(solver, i + 1, ema)
    if FAULT != "no-last" and not (solver.snapshot and solver.max_iter % solver.snapshot == 0):
        snapshot(solver, solver.max_iter, ema)
    log(Iteration(solver.max_iter, 1.0))
    log(Done())
    return 0


def predict(args: argparse.Namespace) -> int:
    count = len(np.load(args.source))
    for number, out in enumerate(args.out, 1):
        if number == 2 and FAULT == "second-killed":
            os.kill(os.getpid(), signal.SIGKILL)
        value = np.nan if FAULT == "nan-probs" or (number == 2 and FAULT == "second-nan") else 1 / 7
        np.savez(out, probs=np.full((count - (FAULT == "short-probs"), 7), value, np.float32))
        print(f"predicted {count} of {count}\nanswered {number} of {len(args.out)}", file=sys.stderr, flush=True)
    return 0


def average(args: argparse.Namespace) -> int:
    write_average(Path(args.out[-1]))
    print("passed 3 of 3", file=sys.stderr)
    print(json.dumps({"batches": 3}))
    return 0


def main() -> int:
    with Path(os.environ.get("FAKE_ARGV", os.devnull)).open("a") as record:
        record.write(json.dumps(sys.argv[1:]) + "\n")
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "verb", choices=("train", "predict", "average", "describe", "layers", "doctor", "device_query", "gpu")
    )
    for name in ("weights", "out"):
        parser.add_argument(f"--{name}", action="append")
    for name in ("solver", "snapshot", "gpu", "sigint_effect", "sighup_effect", "model", "phase", "level"):
        parser.add_argument(f"--{name}")
    for name in ("source", "transform", "stage", "precision", "iterations", "ema"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--ten-crop", action="store_true")
    args = parser.parse_args()
    if args.verb in ("train", "predict", "average"):
        return {"train": train, "predict": predict, "average": average}[args.verb](args)
    if args.verb == "describe" and FAULT == "bad-layer":
        print("I1126 00:00:00.0  1 net.cpp:86] Creating Layer conv", file=sys.stderr)
        print("I1126 00:00:00.0  1 net.cpp:124] Setting up conv", file=sys.stderr)
        print("I1126 00:00:00.0  1 net.cpp:86] Creating Layer relu", file=sys.stderr)
        raise ValueError("param_str: 'rotatoin' is no key")
    if args.verb == "describe":
        print(json.dumps({"params": SHAPES, "blobs": {}, "types": {}, "versions": {"fake": "1"}}))
    if args.verb == "layers":
        print(json.dumps({"layer_types": layer_types()}))
    if args.verb == "doctor":
        versions = dict.fromkeys(("caffe", "python", "numpy", "protobuf"), "fake")
        facts = {"layer_types": layer_types(), "gpu": FAULT != "no-gpu", "one_step_ok": True}
        print(json.dumps(versions | facts))
    if args.verb in ("gpu", "device_query") and FAULT == "no-gpu":
        log(Fatal("Cannot use GPU in CPU-only Caffe: check mode."))
        return 134
    return 0


if __name__ == "__main__":
    sys.exit(main())
