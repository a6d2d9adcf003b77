"""Time whole training iterations with real data: real Caffe, our engines, and plain scripts of PyTorch and Keras.

    python scripts/bench_engines.py [--data data/fer2013] [--nets lenet:s2 alexnet:s1] [--rounds 5] [--seconds 20]
                                    [--json FILE]

Each round runs every engine once, one after the other, each as a process of its own with a warm-up: real Caffe with one
and with two BLAS threads (the better one counts), the engines in fp32 and in bf16, scripts/bench_plain.py with a
DataLoader of no and of two workers, in fp32 (the better one counts) and in bf16, and scripts/bench_keras.py, of nets
that it has. An engine is held against the plain script of its framework. bf16 is left out where the processor only
emulates it. The solver is the net's own, without its tests and snapshots. Beside them the machine's rate at
torch.mm of 2048 x 2048 is measured; an iteration's work is counted as six operations for each multiply-add of the
forward pass. Prints medians, ranges and ratios.

Two processes may not share the cores while this runs; the load before it started is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

from fer.data.manifest import read_manifest
from fer.engines.interpreter import find_caffe
from fer.errors import FerError
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.formats.upgrade import upgrade_net
from fer.nets.shapes import infer_shapes
from fer.nets.states import filter_net, train_state
from fer.nets.zoo import find_net, find_solver
from fer.schema import caffe_pb2
from fer.system.hardware import git_commit, hardware, instruction_sets, native_bf16

ROOT = Path(__file__).resolve().parent.parent
MATRIX = 2048
KERAS_NETS = ("lenet", "alexnet")
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}

# Both end with the same loop, and the first runs in real Caffe's interpreter, which knows nothing of fer.
CAFFE = """
import json, sys, time
import caffe
solver_path, batch, warm_up, seconds = sys.argv[1], *map(float, sys.argv[2:])
caffe.set_mode_cpu()
solver = caffe.get_solver(solver_path)
"""
PYTORCH = """
import json, sys, time
from fer.engines.pytorch.cpu import set_up_cpu
from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.pytorch.backend import Backend
from fer.formats.prototxt import read_solver
set_up_cpu()
solver_path, precision, batch, warm_up, seconds = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
solver = Solver(read_solver(solver_path), solver_path, Backend(precision=precision), Log(silent=True))
"""
TENSORFLOW = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.tensorflow.backend import Backend
from fer.engines.tensorflow.device import set_up_process
from fer.formats.prototxt import read_solver
set_up_process()
solver_path, precision, batch, warm_up, seconds = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
solver = Solver(read_solver(solver_path), solver_path, Backend(precision=precision), Log(silent=True))
"""
LOOP = """
solver.step(int(warm_up))
count, started = 0, time.perf_counter()
while not count or time.perf_counter() - started < seconds:
    solver.step(1)
    count += 1
print(json.dumps({"images_per_second": count * batch / (time.perf_counter() - started), "iterations": count}))
"""
PRODUCT = """
import json, sys, time
import torch
size, dtype = int(sys.argv[1]), getattr(torch, sys.argv[2])
a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
a @ b
best = float("inf")
for _ in range(8):
    started = time.perf_counter()
    a @ b
    best = min(best, time.perf_counter() - started)
print(json.dumps({"operations_per_second": 2 * size**3 / best}))
"""


@dataclass
class Case:
    """One net and solver, ready to run on the machine's data."""

    net: str
    solver: str
    batch: int
    multiply_adds: float
    """Of one image's forward pass."""
    solver_path: Path
    runs: dict[str, list[float]] = field(default_factory=dict)
    """Images a second of each round, by engine."""

    def median(self, engine: str) -> float:
        return statistics.median(self.runs[engine])

    def best(self, start: str) -> str:
        """The engine with the best median of those whose name starts so."""
        return max((name for name in self.runs if name.startswith(start)), key=self.median)


def make_case(text: str, data: Path, work: Path) -> Case:
    """Write `net:solver` with absolute data paths, without tests and snapshots, into `work`."""
    net_name, _, solver_name = text.partition(":")
    net_path = find_net(net_name)
    solver_path = find_solver(net_name, solver_name or "s1")
    solver, net = read_solver(solver_path), upgrade_net(read_net(net_path))
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = str(data / Path(layer.data_param.source).name)
            layer.transform_param.mean_file = str(data / "mean.binaryproto")
    for name in ("test_iter", "test_interval", "test_state", "snapshot"):
        solver.ClearField(name)
    solver.snapshot_after_train = False
    solver.random_seed = 1
    solver.solver_mode = caffe_pb2.SolverParameter.CPU
    folder = work / text.replace(":", "-")
    folder.mkdir()
    solver.net = str(folder / "train_val.prototxt")
    write_text(folder / "train_val.prototxt", net)
    write_text(folder / "solver.prototxt", solver)
    training = filter_net(net, train_state(solver))
    batch = next(layer.data_param.batch_size for layer in training.layer if layer.type == "Data")
    shapes = infer_shapes(training, read_manifest(data).image.shape)
    work_of_one = sum(shapes.multiply_adds.values()) / batch
    return Case(net_name, solver_name or "s1", batch, work_of_one, folder / "solver.prototxt")


def answer(command: list[object], environment: dict[str, str]) -> dict[str, float]:
    """The JSON that a command prints last."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{command[0]} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def threads(count: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}


def engines(case: Case, data: Path, options: argparse.Namespace) -> dict[str, Callable[[], dict[str, float]]]:
    """What to run in each round, by name."""
    cores = len(os.sched_getaffinity(0))
    times = [options.warm_up, options.seconds]
    runs: dict[str, Callable[[], dict[str, float]]] = {}

    def caffe(count: int) -> dict[str, float]:
        found = find_caffe()
        environment = found.environment | {"OPENBLAS_NUM_THREADS": str(count), "OMP_NUM_THREADS": str(count)}
        return answer([found.python, "-c", CAFFE + LOOP, case.solver_path, case.batch, *times], environment)

    def ours(script: str, precision: str) -> dict[str, float]:
        command = [sys.executable, "-c", script + LOOP, case.solver_path, precision, case.batch, *times]
        return answer(command, threads(cores))

    def plain(workers: int, precision: str) -> dict[str, float]:
        script = ROOT / "scripts" / "bench_plain.py"
        flags = ["--net", case.net, "--data", data, "--batch", case.batch, "--workers", workers]
        flags += ["--precision", precision, "--warm-up", options.warm_up, "--seconds", options.seconds]
        return answer([sys.executable, script, *flags], threads(cores))

    def plain_keras(precision: str) -> dict[str, float]:
        flags = ["--net", case.net, "--data", data, "--batch", case.batch, "--precision", precision]
        flags += ["--warm-up", options.warm_up, "--seconds", options.seconds]
        return answer([sys.executable, ROOT / "scripts" / "bench_keras.py", *flags], threads(cores))

    if not options.no_caffe:
        for count in sorted({1, cores}):
            runs[f"caffe, {count} thread{'s' if count > 1 else ''}"] = partial(caffe, count)
    for precision in precisions():
        runs[f"fer, {precision}"] = partial(ours, PYTORCH, precision)
        runs[f"fer on tensorflow, {precision}"] = partial(ours, TENSORFLOW, precision)
        if case.net in KERAS_NETS:
            runs[f"keras {precision}"] = partial(plain_keras, precision)
    for precision in precisions():
        for workers in (0, 2):
            name = f"plain {precision}, {workers} workers"
            runs[name] = partial(plain, workers, precision)
    return runs


def precisions() -> list[str]:
    """Emulated, a product of bf16 takes a hundred times what one of fp32 does."""
    return ["fp32", "bf16"] if native_bf16() else ["fp32"]


def report(case: Case, rates: dict[str, float]) -> None:
    """Print one net's table."""
    work = case.multiply_adds * 6
    print(f"\n{case.net} {case.solver}, batch {case.batch}, {case.multiply_adds / 1e6:.1f} M multiply-adds an image")
    print(f"{'':26}{'images/s':>10}{'range':>16}{'ms/iter':>9}{'x caffe':>9}{'x plain':>9}{'of sgemm':>10}")
    caffe = case.best("caffe") if any(name.startswith("caffe") for name in case.runs) else None
    for name, found in case.runs.items():
        median = case.median(name)
        precision = "bf16" if "bf16" in name else "fp32"
        script = "keras" if "tensorflow" in name or "keras" in name else "plain"
        plain = case.median(case.best(f"{script} {precision}" if case.net in KERAS_NETS else f"plain {precision}"))
        against = f"{median / case.median(caffe):9.2f}" if caffe else f"{'-':>9}"
        spread = f"{min(found):,.0f}-{max(found):,.0f}"
        share = median * work / rates[precision]
        print(
            f"{name:26}{median:10,.0f}{spread:>16}{1000 * case.batch / median:9.2f}"
            f"{against}{median / plain:9.2f}{share:10.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"), help="a directory made by `fer prepare`")
    parser.add_argument("--nets", nargs="+", default=["lenet:s2", "alexnet:s1"], metavar="NET:SOLVER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--warm-up", type=int, default=10, help="iterations before the clock starts")
    parser.add_argument("--no-caffe", action="store_true", help="leave real Caffe out")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-engines-") as work:
            measure(options, options.data.resolve(), Path(work))
    except FerError as error:
        sys.exit(str(error))


def measure(options: argparse.Namespace, data: Path, work: Path) -> None:
    load, began = os.getloadavg()[0], time.time()
    cases = [make_case(text, data, work) for text in options.nets]
    products: dict[str, list[float]] = {precision: [] for precision in precisions()}
    if not native_bf16():
        print("bf16 is left out: this processor only emulates it")
    for number in range(options.rounds):
        for precision in products:
            command = [sys.executable, "-c", PRODUCT, MATRIX, DTYPES[precision]]
            rate = answer(command, threads(len(os.sched_getaffinity(0))))["operations_per_second"]
            products[precision].append(rate)
        for case in cases:
            for name, run in engines(case, data, options).items():
                case.runs.setdefault(name, []).append(run()["images_per_second"])
                print(f"round {number + 1}: {case.net}, {name}: {case.runs[name][-1]:,.0f} images/s", flush=True)
    rates = {precision: statistics.median(found) for precision, found in products.items()}
    machine = hardware()
    instructions = f" ({', '.join(instruction_sets())})"
    print(
        f"\n{date.today()}, commit {git_commit()}, {machine['cpu']}{instructions}, {machine['cores']} cores, "
        f"load before {load:.2f}"
    )
    print(f"median of {options.rounds} rounds of {options.seconds:g} s; torch.mm {MATRIX} x {MATRIX}: ", end="")
    print(", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in rates.items()))
    for case in cases:
        report(case, rates)
    if options.json:
        result = {
            "date": str(date.today()), "commit": git_commit(), "hardware": machine, "load": load,
            "seconds": time.time() - began, "matrix_products": products,
            "nets": [
                {"net": c.net, "solver": c.solver, "batch": c.batch, "multiply_adds": c.multiply_adds,
                 "images_per_second": c.runs}
                for c in cases
            ],
        }  # fmt: skip
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
