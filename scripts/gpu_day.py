"""All that a GPU lent for a quarter of an hour is to show, in one run: each step in a process of its own, with a time
limit, its result in a JSON file of its own as soon as there is one.

    python scripts/gpu_day.py --out DIR [--data DIR] [--caffe ARCHIVE] [--minutes 14] [--steps NAME ...]
    python scripts/gpu_day.py --cpu --out DIR        the same in short on the CPU: only the card is new on the day

Runs from a bare checkout: torch, numpy, OpenCV, protobuf, lmdb, msgspec and tqdm are enough. Where the last three are
missing, carry their wheels: `python -m pip install --no-index --no-deps wheels/*.whl`. Where one command may not take
the whole time, name the `--steps` of each: {steps}.
`--caffe` is real Caffe built for the card beforehand and packed by pack_caffe.py; without it, that step is left out.
`--data` is a directory of `fer prepare`, or one with FER2013 as sheets of tiles and write_csv.py; without it, drawn
faces are used, and nothing is trained for the README's table.

DIR/NN-NAME.json: {{"step", "ok", "seconds", "limit", "faults": [...], "result": {{...}}}}; beside it NN-NAME.log. The
exit code is 1 where a step failed or showed a fault.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from fer.system.files import write_bytes  # noqa: E402  # it is not installed in a bare checkout

SIX_NETS = ("lenet:s2", "alexnet:s1", "alexnetbn:s1", "vgg8:s1", "resnet18:s1", "googlenet:s1")
# In the order of what the README's table wants most.
TRAININGS = ("vgg13:s1", "resnet18h:s1", "googlenetbn:s1", "resnet18:s1", "alexnet:s3", "alexnet:s1", "alexnet:s2")
_CHANGES: dict[str, dict[str, Any]] = {
    "Adam": {"type": "Adam", "base_lr": 1e-4},
    "clipped": {"clip_gradients": 0.05},
    "Nesterov": {"type": "Nesterov"},
}


@dataclass
class Day:
    """What a step is given, and where it writes what it finds."""

    short: bool
    """On the CPU, to see that everything runs."""
    out: Path
    data: Path | None
    work: Path
    deadline: float
    """time.monotonic() at which the step is killed."""
    result: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    file: Path | None = None
    caffe: Path | None = None
    """Real Caffe for this machine's GPU, carried here."""

    def note(self, **found: Any) -> None:
        """Add to the result, and to its file at once."""
        self.result |= found
        if self.file:
            text = json.dumps({"result": self.result, "faults": self.faults}, indent=1) + "\n"
            write_bytes(self.file, text.encode())  # whole, as the step may be killed at any moment

    def check(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)
            print("FAULT:", fault, flush=True)

    def case(self, text: str, count: int | None = None, *, drawn: bool = False) -> Any:
        """A net and solver of bench_gpu.py; `count` images, else few, `drawn` whatever data are given."""
        import bench_gpu

        folder = Path(tempfile.mkdtemp(dir=self.work))
        faces = bench_gpu.Data(None if drawn else self.data, folder, count or 512)
        return bench_gpu.make_case(text, faces, folder, self.short)

    def left(self) -> float:
        return self.deadline - time.monotonic()


# ---- what there is


def machine(day: Day) -> None:
    """What is installed, and what the card is."""
    import cv2
    import google.protobuf
    import numpy as np
    import torch

    day.note(
        python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda, numpy=np.__version__,
        cudnn=torch.backends.cudnn.version(), opencv=cv2.__version__, protobuf=google.protobuf.__version__,
        arches=torch.cuda.get_arch_list(), cores=len(os.sched_getaffinity(0)), compiler=shutil.which("gcc"),
        date=time.strftime("%F %T"),
        commit=_said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
    )  # fmt: skip
    for name in ("lmdb", "msgspec", "tqdm"):
        day.check(_installed(name), f"{name} is missing: carry its wheel")
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info(0)
        day.note(
            card=card.name, capability=f"{card.major}.{card.minor}", processors=card.multi_processor_count, free=free,
            total=total, nccl=torch.cuda.nccl.version(), smi=_said("nvidia-smi"),
        )  # fmt: skip


def messages(day: Day) -> None:
    """What a user is told of a GPU that is not there, of data too large, and of too little memory."""
    solver = day.case("lenet:s2").path
    asked = {"wrong index": (["--gpu", "7"], solver), "too large": (_here(day), _huge(day, data_share=4.0))}
    if not day.short:
        asked["no memory"] = (_here(day), _huge(day, data_share=0.2))
    for name, (words, path) in asked.items():
        command = [sys.executable, "-m", "fer.engines.pytorch", "train", "--solver", str(path), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=day.left())
        last = (done.stderr.strip().splitlines() or [""])[-1]
        day.note(**{name: {"code": done.returncode, "says": last}})
        day.check(done.returncode == 1 and "Traceback" not in done.stderr, f"{name}: code {done.returncode}, {last}")


def _huge(day: Day, data_share: float) -> Path:
    """A solver whose net's data take that share of the device's free memory, and its convolution much more."""
    import torch

    from fer.engines.pytorch.data.room import free_bytes

    side = 512
    batch = int(free_bytes(torch.device("cpu" if day.short else "cuda:0")) * data_share / side**2 / 4)
    path = Path(tempfile.mkdtemp(dir=day.work)) / "solver.prototxt"
    filler = 'weight_filler { type: "xavier" }'
    path.write_text(
        f"""base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_after_train: false net_param {{
        layer {{ name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {{
          shape {{ dim: {batch} dim: 1 dim: {side} dim: {side} }} shape {{ dim: {batch} }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param {{ num_output: 32 kernel_size: 3 {filler} }} }}
        layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
          inner_product_param {{ num_output: 7 {filler} }} }}
        layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }} }}"""
    )
    return path


# ---- numbers


def nets(day: Day) -> None:
    """Ten iterations of six nets in each precision, and whether a graph was captured."""
    import bench_gpu

    from fer.engines.pytorch.training import Training

    for text in SIX_NETS:
        case = day.case(text)
        for precision in ("fp32",) if day.short else ("fp32", "tf32", "bf16"):
            name = f"{text} {precision}"
            try:
                solver = bench_gpu.make_solver(case.path, bench_gpu.DEVICE, precision)
                solver.step(2 if day.short else 10)
                assert isinstance(solver.training, Training)
                loss, captured = solver._losses[-1].item(), solver.training.step.captured
            except Exception as error:
                day.check(False, f"{name}: {_first_line(error)}")
                traceback.print_exc()
                continue
            day.note(**{name: {"loss": loss, "captured": "yes" if captured else "no"}})
            day.check(loss == loss and abs(loss) < 100, f"{name}: the loss is {loss}")
            day.check(captured != day.short, f"{name}: captured: {'yes' if captured else 'no'}")


def parity(day: Day) -> None:
    """The first update and the losses of 100 iterations: CPU against GPU, and there without a graph against with."""
    import bench_gpu

    runs: list[tuple[str, str | None]] = [("lenet:s2", None), *(("lenet:s2", flag) for flag in _CHANGES)]
    runs += [] if day.short else [("alexnetbn:s1", None), ("alexnet:s1", None), ("alexnet:s1", "Adam")]
    for text, flag in runs:
        name = f"{text} {flag or 'as it is'}"
        found = bench_gpu.agreement(day.case(text).still_path, 3 if day.short else 100, _changed(flag))
        day.note(**{name: asdict(found)})
        for fault in bench_gpu.disagreements(found):
            day.check(False, f"{name}: {fault}")


def _changed(flag: str | None) -> Callable[[Any], None]:
    def change(param: Any) -> None:
        for name, value in _CHANGES.get(flag or "", {}).items():
            setattr(param, name, value)

    return change


def random_numbers(day: Day) -> None:
    """Dropout, and crops with mirrors, differ between replays; without them all replays of one batch are equal."""
    import bench_gpu

    from fer.formats.prototxt import read_net, read_solver, write_text
    from fer.schema import caffe_pb2

    for kind, dropout, crops in (("nothing", False, False), ("dropout", True, False), ("crops", False, True)):
        batch = day.case("alexnet:s1").batch
        case = day.case("alexnet:s1", count=batch, drawn=True)  # each batch is all the images
        solver = read_solver(case.path)
        solver.base_lr = 0
        net = read_net(solver.net)
        data = next(layer for layer in net.layer if layer.type == "Data")
        if not crops:
            data.transform_param.mirror, data.phase = False, caffe_pb2.TEST
        for layer in [layer for layer in net.layer if layer.type == "Dropout" and not dropout]:
            net.layer.remove(layer)
        for layer in net.layer:  # the net's own weights are so small that all losses are about the same
            for param in (layer.convolution_param, layer.inner_product_param):
                param.weight_filler.type = "msra"
        write_text(Path(solver.net), net)
        write_text(case.path, solver)
        losses = []
        for _ in range(2):
            trained = bench_gpu.make_solver(case.path, bench_gpu.DEVICE, "fp32")
            trained.step(4)  # to the capture and past it
            losses.append([_one_loss(trained) for _ in range(3 if day.short else 6)])
        ordered = sorted(losses[0])
        different = 1 + sum(b - a > 1e-5 * b for a, b in pairwise(ordered))
        day.note(**{kind: losses[0]})
        day.check(different == (1 if kind == "nothing" else len(losses[0])), f"{kind}: {different} different losses")
        off = max(abs(a - b) for a, b in zip(*losses, strict=True))
        day.check(off < 1e-3, f"{kind}: the same seed gives losses {off:.1e} apart")


def _one_loss(solver: Any) -> float:
    solver.step(1)
    loss: float = solver._losses[-1].item()
    return loss


def resume(day: Day) -> None:
    """A snapshot of either device goes on on either, with the losses of the training that was not stopped."""
    import torch
    from bench_gpu import DEVICE

    from fer.engines.core.log import Log
    from fer.engines.core.solver import Solver
    from fer.engines.pytorch.backend import Backend
    from fer.formats.prototxt import read_solver, write_text

    half = 4
    for kind in ("still", "drawn"):
        case = day.case("lenet:s2" if day.short else "alexnet:s1")
        path = case.still_path if kind == "still" else case.path
        devices = {"cpu": torch.device("cpu"), "device": DEVICE}
        losses: dict[str, list[float]] = {}
        for name, where in devices.items():
            param = read_solver(path)
            param.snapshot, param.snapshot_prefix = half, str(path.with_name(name))
            write_text(path, param)
            solver = Solver(param, path, Backend(where), Log(silent=True))
            losses[name] = [_one_loss(solver) for _ in range(2 * half)]
        for start, whole in losses.items():
            for end, where in devices.items():
                state = path.with_name(f"{start}_iter_{half}.solverstate")
                again = Solver(read_solver(path), path, Backend(where), Log(), snapshot=state)
                rest = [_one_loss(again) for _ in range(half)]
                off = max(abs(a - b) / abs(b) for a, b in zip(rest, whole[half:], strict=True))
                day.note(**{f"{kind}: {start} to {end}": {"whole": whole, "rest": rest, "off": off}})
                crosses = day.short is False and start != end
                if kind == "still" or not crosses:
                    day.check(off < 1e-3, f"{kind}: {start} to {end}: losses {off:.1e} apart")


# ---- speed


def profile(day: Day) -> None:
    """AlexNet's dearest kernels, and the host's time."""
    import bench_gpu
    import torch
    from torch.profiler import ProfilerActivity

    gpu = bench_gpu.DEVICE.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    count = 2 if day.short else 50
    for precision in ("fp32",) if day.short else ("bf16", "tf32"):
        solver = bench_gpu.make_solver(day.case("alexnet:s1").path, bench_gpu.DEVICE, precision)
        solver.step(2 if day.short else 20)
        bench_gpu.wait()
        started = time.perf_counter()
        solver.step(count)
        host = time.perf_counter() - started
        bench_gpu.wait()
        whole = time.perf_counter() - started
        with torch.profiler.profile(activities=activities) as profiler:
            solver.step(count)
            bench_gpu.wait()
        column = "self_device_time_total" if gpu else "self_cpu_time_total"
        rows = sorted(profiler.key_averages(), key=lambda row: getattr(row, column), reverse=True)[:15]
        dearest = [{"name": r.key, "calls": r.count, "us": round(getattr(r, column) / count, 2)} for r in rows]
        day.note(**{precision: {"ms": 1e3 * whole / count, "host_ms": 1e3 * host / count, "dearest": dearest}})
        day.check(len(dearest) == 15, f"{precision}: only {len(dearest)} kernels")


def bench(day: Day) -> None:
    """The engine against plain PyTorch in every way to run it; compiled last, as that takes long."""
    import bench_gpu
    import bench_plain

    options = argparse.Namespace(seconds=0.05 if day.short else 1.0, small=day.short, peers=[])
    texts = ["lenet:s2"] if day.short else ["alexnet:s1", "lenet:s2", "alexnet227:s1"]
    precisions = ["fp32"] if day.short else ["bf16", "fp32", "tf32"]
    options.peers = ["eager"] if day.short else ["eager", "graph"]
    rates = {"bandwidth": bench_gpu.bandwidth(day.short)}
    rates |= {precision: bench_gpu.product_rate(precision, day.short) for precision in precisions}
    day.note(rates=rates)
    cases = [day.case(text, count=None if day.short else 4096) for text in texts]
    for case in cases:
        for precision in precisions:
            row = bench_gpu.measure(case, precision, rates, options)
            bench_gpu.show(row)
            day.note(**{f"{case.net} {precision}": asdict(row)})
    for case, precision in [] if day.short else [(cases[0], "bf16"), (cases[0], "tf32")]:
        crop = bench_plain.CROPS[case.net]
        found = bench_gpu.plain_seconds(case, precision, crop, 1.0, ["compiled"])
        day.note(**{f"{case.net} {precision}, compiled": found})


def caffe(day: Day) -> None:
    """Nets on the real Caffe that was carried and on ours, from one start: images a second, losses; VGG8's an epoch."""
    if day.caffe is None:
        day.note(left_out="no real Caffe was carried: --caffe ARCHIVE, made by scripts/pack_caffe.py")
        return
    commands = {
        "caffe": [str(_carried(day, day.caffe)), "train"],
        "engine": [sys.executable, "-m", "fer.engines.pytorch", "train"],
    }
    compared = [("lenet:s2", 20, 1000), ("alexnet:s1", 20, 500), ("vgg8:s1", 225, 100)]  # an epoch of VGG8
    if day.short:
        compared = [("lenet:s2", 2, 3)]
    for text, first, many in compared:
        case = day.case(text, count=None if day.short else 4096)
        weights = _start(case.still_path)
        found: dict[str, dict[str, Any]] = {}
        for name, command in commands.items():
            begun = _train(day, [*command, "--weights", str(weights)], case.still_path, first, 1)
            timed = _train(day, [*command, "--weights", str(weights)], case.still_path, many, max(many // 10, 1))
            rates = sorted(map(float, re.findall(r"\((\S+) iter/s, ", timed)[1:]))  # the first is of no iteration
            rate = rates[len(rates) // 2] if rates else 0.0
            found[name] = {"images/s": rate * case.batch, "losses": _losses(begun), "later": _losses(timed)}
            day.note(**{f"{case.net} {case.solver}": found})
            day.check(rate > 0, f"{text}: {name} does not say how fast it trains")
        ours, theirs = found["engine"]["losses"], found["caffe"]["losses"]
        day.check(len(ours) == len(theirs) == first, f"{text}: {len(ours)} losses of ours, {len(theirs)} of Caffe's")
        off = max((abs(a - b) / abs(b) for a, b in zip(ours[:3], theirs[:3], strict=False)), default=0)
        day.check(off < 1e-3, f"{text}: the first losses are {off:.1e} from Caffe's")


def _carried(day: Day, path: Path) -> Path:
    """The executable: the file itself, or that of an archive by scripts/pack_caffe.py."""
    if ".tar" not in path.suffixes:
        return path
    with tarfile.open(path) as archive:
        archive.extractall(day.work, filter="data")
    return day.work / "caffe" / "libexec" / "caffe"


def _start(path: Path) -> Path:
    """First weights for the net of a solver."""
    from fer.engines.core.log import Log
    from fer.engines.core.solver import Solver
    from fer.engines.pytorch.backend import Backend
    from fer.formats.prototxt import read_solver

    param = read_solver(path)
    param.snapshot_prefix = str(path.with_name("start"))
    Solver(param, path, Backend(), Log(silent=True)).snapshot()
    return path.with_name("start_iter_0.caffemodel")


def _train(day: Day, command: list[str], path: Path, iterations: int, display: int) -> str:
    """The log of so many iterations by the solver there."""
    from fer.formats.prototxt import read_solver, write_text
    from fer.schema import caffe_pb2

    param = read_solver(path)
    param.max_iter, param.display, param.average_loss = iterations, display, 1
    param.solver_mode = caffe_pb2.SolverParameter.CPU if day.short else caffe_pb2.SolverParameter.GPU
    solver = path.with_name("counted.prototxt")
    write_text(solver, param)
    environment = _environment() | {"LD_LIBRARY_PATH": os.pathsep.join(_cuda_libraries())}
    words = [*command, "--solver", str(solver), *_here(day)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=day.left())
    day.check(done.returncode == 0, f"{Path(command[0]).name}: code {done.returncode}, {done.stderr[-300:]}")
    return done.stderr


def _cuda_libraries() -> list[str]:
    """The folders of CUDA's libraries that PyTorch brings, and what was given."""
    found = [str(folder) for path in sys.path for folder in sorted(Path(path).glob("nvidia/*/lib"))]
    return [*found, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]


def _losses(log: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"\] Iteration \d+ \(.*\), loss = (\S+)", log)]


def alexnet(day: Day) -> None:
    """AlexNet s1 whole: 50,000 iterations, in 60 s if all is well."""
    import bench_gpu

    case = day.case("alexnet:s1", count=64 if day.short else bench_gpu.COUNT)
    for precision in ("fp32",) if day.short else ("bf16",):
        solver = bench_gpu.make_solver(case.path, bench_gpu.DEVICE, precision)
        total = 3 if day.short else case.max_iter
        losses: list[float] = []
        started = time.perf_counter()
        while solver.iteration < total and day.left() > 10:
            solver.step(min(1000, total - solver.iteration))
            losses.append(solver._losses[-1].item())
            seconds = time.perf_counter() - started
            day.note(
                precision=precision, iterations=solver.iteration, seconds=seconds, batch=case.batch, losses=losses,
                images_per_second=solver.iteration * case.batch / seconds,
                whole_seconds=seconds * case.max_iter / solver.iteration,
            )  # fmt: skip
        day.check(solver.iteration == total, f"{solver.iteration:,} of {total:,} iterations in the time there was")


# ---- the rest of the way


def rank(day: Day) -> None:
    """One rank through the process group (NCCL on a GPU) trains as one that is alone."""
    import bench_gpu
    import torch

    from fer.engines.core.log import Log
    from fer.engines.core.solver import Solver
    from fer.engines.pytorch.backend import Backend
    from fer.engines.pytorch.distributed import Ranks
    from fer.engines.pytorch.net import Net
    from fer.formats.prototxt import read_solver

    class OneRank(Ranks):
        alone = False

    path = day.case("alexnet:s1").path

    def trained(ranks: Ranks) -> list[Any]:
        solver = Solver(read_solver(path), path, Backend(bench_gpu.DEVICE, ranks=ranks), Log(silent=True))
        solver.step(6)
        assert isinstance(solver.net, Net)
        return [learned.parameter.detach().cpu() for learned in solver.net.learnable]

    alone, again = trained(Ranks()), trained(Ranks())
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = OneRank()
    ranks.join(bench_gpu.DEVICE)
    together = trained(ranks)
    backend = torch.distributed.get_backend()
    ranks.wait()
    ranks.leave()
    off, noise = (
        max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(alone, other, strict=True))
        for other in (together, again)
    )
    day.note(backend=backend, off=off, noise=noise)  # a GPU adds up in another order each time
    day.check(off < max(1e-4, 10 * noise), f"one rank through {backend} is {off:.1e} off, twice alone {noise:.1e}")


def signals(day: Day) -> None:
    """`fer train` stopped by SIGTERM with the work saved, and gone on with."""
    runs = day.work / "runs"
    common = ["--data", str(_prepared(day))]
    gpu = [] if day.short else ["--gpu", "0"]
    train = ["train", "--net", "lenet", "--solver", _solver(day, "lenet", "s2"), "--engine", "pytorch"]
    train += ["--max-iter", "1000000"]
    with _fer([*train, *common, *gpu, "--name", "day"], day) as process:
        log = runs / "day" / "train.log"
        while process.poll() is None and day.left() > 0 and not _reached(log, 1 if day.short else 1000):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=max(day.left(), 1))
    states = sorted((runs / "day").rglob("*.solverstate"))
    day.note(code=code, states=[state.name for state in states])
    day.check(code == 128 + signal.SIGTERM and bool(states), f"SIGTERM: code {code}, {len(states)} snapshots")
    iteration = max((int(state.stem.rpartition("_")[2]) for state in states), default=0)
    with _fer(["train", "--resume", str(runs / "day"), "--max-iter", str(iteration + 20)], day) as process:
        code = process.wait(timeout=max(day.left(), 1))
    resumed = log.read_text(errors="replace").count("Resuming from")
    day.note(resumed_from=iteration, resumed_code=code)
    day.check(code == 0 and resumed == 1, f"resume: code {code}, {resumed} times resumed")


def trainings(day: Day) -> None:
    """The trainings of the README's table, one after the other while there is time; a cut one can be resumed."""
    data = _prepared(day)
    for text in TRAININGS[:1] if day.short else TRAININGS:
        if day.left() < 15:
            return
        net, solver = text.split(":")
        words = ["train", "--net", net, "--solver", _solver(day, net, solver), "--engine", "pytorch", "--seed", "1"]
        words += ["--data", str(data), "--name", f"{net}-{solver}"]
        words += ["--max-iter", "1"] if day.short else ["--gpu", "0", "--precision", "bf16", "--shuffle"]
        started = time.monotonic()
        with _fer(words, day, runs=day.out) as process:
            while process.poll() is None and day.left() > 10:
                time.sleep(0.1)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=max(day.left(), 1))
        day.note(**{text: {"code": code, "seconds": time.monotonic() - started}})
        day.check(code in (0, 128 + signal.SIGTERM), f"{text}: code {code}")


def _solver(day: Day, net: str, solver: str) -> str:
    """A shipped solver's name; in short, one that hardly tests and tells of each iteration."""
    if not day.short:
        return solver
    from fer.formats.prototxt import read_solver, write_text
    from fer.nets.zoo import find_net, find_solver

    param = read_solver(find_solver(find_net(net), solver))
    param.test_iter[:], param.display = [1], 1
    path = day.work / f"{net}_{solver}.prototxt"
    write_text(path, param)
    return str(path)


def _prepared(day: Day) -> Path:
    """A data directory of `fer prepare`: the one given, or one made of the tiles given or of drawn faces."""
    if day.data and (day.data / "manifest.json").is_file():
        return day.data
    csv, data = day.work / "faces.csv", day.work / "data"
    if day.data and (day.data / "write_csv.py").is_file():
        maker = [str(day.data / "write_csv.py"), str(csv)]
    else:
        few = ["--train", "16", "--test", "14"] if day.short else []
        maker = [str(ROOT / "scripts" / "make_sample.py"), str(csv), *few]
    subprocess.run([sys.executable, *maker], check=True, timeout=day.left())
    command = [sys.executable, "-m", "fer", "prepare", str(csv), "--out", str(data)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=day.left())
    return data


@contextmanager
def _fer(words: list[str], day: Day, runs: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`fer` in the folder that is to hold its runs; killed at the end, should it still run."""
    command = [sys.executable, "-m", "fer", *words]
    process = subprocess.Popen(command, cwd=runs or day.work, env=_environment())
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """In which a process finds fer, which is not installed here."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _reached(log: Path, iteration: int) -> bool:
    text = log.read_text(errors="replace") if log.exists() else ""
    return any(int(number) >= iteration for number in re.findall(r"\] Iteration (\d+)[ ,]", text))


def _here(day: Day) -> list[str]:
    return [] if day.short else ["--gpu", "0"]


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


# ---- the day

# In order of what the day is for: (what to do, seconds that it may take on a GPU, and on the CPU in short).
STEPS: dict[str, tuple[Callable[[Day], None], int, int]] = {
    "machine": (machine, 30, 60),
    "messages": (messages, 60, 120),
    "nets": (nets, 120, 240),
    "parity": (parity, 120, 120),
    "random": (random_numbers, 40, 120),
    "resume": (resume, 60, 120),
    "profile": (profile, 45, 120),
    "bench": (bench, 150, 120),
    "caffe": (caffe, 120, 120),
    "alexnet": (alexnet, 100, 120),
    "rank": (rank, 40, 120),
    "signals": (signals, 60, 240),
    "trainings": (trainings, 10**6, 240),
}


def take_step(name: str, options: argparse.Namespace, left: float) -> bool:
    """Run a step in a process of its own, for `left` seconds at most; whether it ended well without a fault."""
    number = list(STEPS).index(name) + 1
    file = options.out / f"{number:02}-{name}.json"
    _, on_gpu, on_cpu = STEPS[name]
    limit = min(on_cpu if options.cpu else on_gpu, left)
    command = [sys.executable, str(Path(__file__).resolve()), "--out", str(options.out), "--child", name]
    command += [*["--cpu"] * options.cpu, "--limit", str(limit)]
    command += ["--data", str(options.data)] if options.data else []
    command += ["--caffe", str(options.caffe)] if options.caffe else []
    environment = _environment() | ({"CUDA_VISIBLE_DEVICES": ""} if options.cpu else {})
    file.unlink(missing_ok=True)
    started = time.monotonic()
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            code: int | str = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = f"killed after {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
                process.wait()
    found = json.loads(file.read_text()) if file.exists() else {"result": {}, "faults": []}
    faults = found["faults"] + ([] if code == 0 else [f"it ended with {code}: {_last_line(file.with_suffix('.log'))}"])
    ok, seconds = not faults, round(time.monotonic() - started, 1)
    entry = {"step": name, "ok": ok, "seconds": seconds, "limit": limit, "faults": faults, "result": found["result"]}
    file.write_text(json.dumps(entry, indent=1) + "\n")
    print(f"{name:10}{'ok' if ok else 'FAULT':>6}{seconds:8.1f} s  {'; '.join(faults)}", flush=True)
    return ok


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def run_child(options: argparse.Namespace) -> None:
    """The step itself, in the process that `take_step` started."""
    number = list(STEPS).index(options.child) + 1
    file = options.out / f"{number:02}-{options.child}.json"
    if options.cpu:
        import torch

        torch.set_num_threads(1)  # these batches are too small for more
        os.environ["FER_TORCH_THREADS"] = "1"
    from fer.engines.pytorch.cpu import set_up_cpu

    set_up_cpu()
    with tempfile.TemporaryDirectory(prefix="gpu-day-") as work:
        deadline = time.monotonic() + options.limit - 5
        day = Day(options.cpu, options.out, options.data, Path(work), deadline, file=file, caffe=options.caffe)
        day.note()
        try:
            STEPS[options.child][0](day)
        except Exception as error:
            traceback.print_exc()
            day.faults.append(_first_line(error))
        day.note()


def main() -> int:
    documentation = (__doc__ or "").format(steps=", ".join(STEPS))
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", type=Path, help="FER2013: of `fer prepare`, or tiles with write_csv.py")
    parser.add_argument("--caffe", type=Path, help="real Caffe: an archive by scripts/pack_caffe.py, or an executable")
    parser.add_argument("--cpu", action="store_true", help="in short, on the CPU")
    parser.add_argument("--minutes", type=float, default=14, help="for all steps together (default: %(default)s)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="NAME")
    parser.add_argument("--child", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.data = options.data.resolve() if options.data else None
    options.caffe = options.caffe.resolve() if options.caffe else None
    options.out.mkdir(parents=True, exist_ok=True)
    if options.child:
        run_child(options)
        return 0
    end = time.monotonic() + 60 * options.minutes
    done = [take_step(name, options, left) for name in options.steps if (left := end - time.monotonic()) > 10]
    for name in options.steps[len(done) :]:
        print(f"{name:10}  left out: the {options.minutes:g} minutes are over")
    return 0 if all(done) and len(done) == len(options.steps) else 1


if __name__ == "__main__":
    sys.exit(main())
