"""Images a second of the PyTorch engine on a GPU, against plain PyTorch and against what the machine allows.

    python scripts/bench_gpu.py [--data DIR] [--nets lenet:s2 alexnet:s1 alexnet:s2 alexnet:s3 alexnet227:s1]
                                [--precisions fp32 tf32 bf16] [--peers eager graph compiled] [--seconds 5]
                                [--small] [--json FILE]

Runs from a bare checkout: torch, numpy, lmdb, protobuf and OpenCV are enough. DIR is a directory made by `fer prepare`,
or one with FER2013 as sheets of tiles (Training.png, Training.labels.txt); without it, drawn images are used, which
take as long. For each net, solver and precision it prints
- engine: whole training iterations (`Solver.step`), data included; in channels_last, and the milliseconds in NCHW,
- plain: the same net as scripts/bench_plain.py writes it, on one batch that already lies on the device (so without any
  cost of data, and in the same precision): the best of eager, as a CUDA graph and compiled (mode "reduce-overhead"),
  each in NCHW and in channels_last (on a CPU: eager alone),
- floors: the shortest an iteration could take by memory traffic (each activation five times, each parameter eight
  times, over the measured bandwidth) and by arithmetic (six operations a multiply-add, over the measured rate), and the
  share of the larger one in the engine's time,
- hours, or seconds, that the solver's max_iter would take,
and checks the first update and the losses of 100 iterations, on the CPU against the device, and there without a graph
against with one (fp32, dropout and drawing off).
Without a GPU it measures the CPU. `--small`: small batches and short times, to see that it works.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench_plain import Training  # noqa: E402  # neither is installed in a bare checkout

from fer.engines.core.log import Log  # noqa: E402
from fer.engines.core.solver import Solver  # noqa: E402
from fer.engines.pytorch.backend import Backend  # noqa: E402
from fer.engines.pytorch.cpu import set_up_cpu  # noqa: E402
from fer.engines.pytorch.net import Net  # noqa: E402
from fer.engines.pytorch.training import Training as EngineTraining  # noqa: E402
from fer.errors import FerError  # noqa: E402
from fer.formats.database import DatabaseWriter, encode_datum, write_mean  # noqa: E402
from fer.formats.prototxt import read_net, read_solver, write_text  # noqa: E402
from fer.formats.upgrade import upgrade_net  # noqa: E402
from fer.nets.shapes import infer_shapes  # noqa: E402
from fer.nets.states import filter_net, train_state  # noqa: E402
from fer.schema import caffe_pb2  # noqa: E402

SIDE, COLUMNS = 48, 100
WAYS = ("eager", "graph", "compiled")
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
LAYOUTS = tuple(FORMATS)
COUNT = 28_709
DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


# ---- data


def read_faces(folder: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` images uint8 [N, 48, 48] and labels: FER2013's training tiles, or drawn ones."""
    if folder is None:
        random = np.random.default_rng(0)
        coarse = random.integers(0, 256, (count, 12, 12), np.uint8)
        return coarse.repeat(4, 1).repeat(4, 2), random.integers(0, 7, count)
    sheet = cv2.imread(str(folder / "Training.png"), cv2.IMREAD_GRAYSCALE)
    if sheet is None:
        sys.exit(f"{folder}: neither a directory of `fer prepare` (train_lmdb) nor one with Training.png")
    labels = np.array([int(c) for c in (folder / "Training.labels.txt").read_text().strip()][:count])
    tiles = sheet.reshape(-1, SIDE, COLUMNS, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
    return tiles[: len(labels)], labels


def make_database(folder: Path, faces: tuple[np.ndarray, np.ndarray], side: int) -> Path:
    """A data directory of the faces, enlarged to `side`: train_lmdb and mean.binaryproto."""
    folder.mkdir()
    images, labels = faces
    total = np.zeros((side, side))
    with DatabaseWriter(folder / "train_lmdb", len(images), len(images) * (side * side + 64)) as writer:
        for start in range(0, len(images), 1000):
            records = []
            for row in range(start, min(start + 1000, len(images))):
                image = images[row] if side == SIDE else cv2.resize(images[row], (side, side))
                total += image
                records.append((f"{row:08d}".encode(), encode_datum(image[None], int(labels[row]))))
            writer.append(records)
    write_mean(folder / "mean.binaryproto", (total / len(images))[None])
    return folder


class Data:
    """Data directories by image side, made when first asked for."""

    def __init__(self, given: Path | None, work: Path, count: int) -> None:
        self._given, self._work, self._count = given, work, count
        self._faces: tuple[np.ndarray, np.ndarray] | None = None
        self._made: dict[int, Path] = {}

    def directory(self, side: int) -> Path:
        if side == SIDE and self._given and (self._given / "train_lmdb").is_dir():
            return self._given.resolve()
        if side not in self._made:
            prepared = self._given and (self._given / "train_lmdb").is_dir()
            if self._faces is None:
                self._faces = read_faces(None if prepared else self._given, self._count)
            self._made[side] = make_database(self._work / f"faces-{side}", self._faces, side)
        return self._made[side]


# ---- what to run


@dataclass
class Case:
    """A net and a solver, written for this data."""

    net: str
    solver: str
    batch: int
    max_iter: int
    path: Path
    """Of the solver."""
    still_path: Path
    """Of the same solver for a net without dropout and Augment, and with nothing drawn by its data layer."""
    multiply_adds: int
    """Of a batch's forward pass."""
    activations: int
    """Numbers in all blobs of a batch."""
    parameters: int


def make_case(text: str, data: Data, work: Path, small: bool) -> Case:
    """Write `net:solver` into `work`, without its tests and snapshots."""
    name, _, solver_name = text.partition(":")
    source = ROOT / "prototxt" / name
    solver = read_solver(source / f"solver_{solver_name or 's1'}.prototxt")
    net = upgrade_net(read_net(source / "train_val.prototxt"))
    net = filter_net(net, train_state(solver))
    layer = next(layer for layer in net.layer if layer.type == "Data")
    side = 256 if layer.transform_param.crop_size > SIDE else SIDE
    directory = data.directory(side)
    if small:
        layer.data_param.batch_size = 8 if side == SIDE else 2
    layer.data_param.source = str(directory / "train_lmdb")
    layer.transform_param.mean_file = str(directory / "mean.binaryproto")
    still = caffe_pb2.NetParameter()
    still.CopyFrom(net)
    for other in [other for other in still.layer if other.type in ("Dropout", "Python")]:  # Augment draws
        still.layer.remove(other)
    quiet = next(layer for layer in still.layer if layer.type == "Data")
    quiet.transform_param.mirror = False
    quiet.phase = caffe_pb2.TEST  # the centre crop
    for field in ("test_iter", "test_interval", "test_state", "train_state", "snapshot", "net"):
        solver.ClearField(field)
    solver.snapshot_after_train, solver.random_seed = False, 1
    solver.solver_mode = caffe_pb2.SolverParameter.CPU
    paths = []
    for kind, proto in (("drawn", net), ("still", still)):
        folder = work / f"{name}-{solver_name}-{kind}"
        folder.mkdir()
        solver.net = str(folder / "train_val.prototxt")
        write_text(folder / "train_val.prototxt", proto)
        write_text(folder / "solver.prototxt", solver)
        paths.append(folder / "solver.prototxt")
    shapes = infer_shapes(net, (1, side, side))
    return Case(
        name, solver_name or "s1", layer.data_param.batch_size, solver.max_iter, paths[0], paths[1],
        sum(shapes.multiply_adds.values()), sum(map(math.prod, shapes.blobs.values())), shapes.param_count,
    )  # fmt: skip


def make_solver(path: Path, device: torch.device, precision: str, layout: str = "channels_last") -> Solver:
    backend = Backend(device, precision, memory_format=FORMATS[layout])
    return Solver(read_solver(path), path, backend, Log(silent=True))


# ---- measuring


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize(DEVICE)


def seconds_each(run: Callable[[], object], seconds: float, warm_up: int = 6) -> float:
    """Seconds of one `run`, over as many as fit into `seconds`, in chunks with one wait for the device each."""
    for _ in range(warm_up):
        run()
    wait()
    count, chunk, started = 0, 1, time.perf_counter()
    while time.perf_counter() - started < seconds or not count:
        for _ in range(chunk):
            run()
        wait()
        count += chunk
        chunk = min(2 * chunk, 200)
    return (time.perf_counter() - started) / count


def bandwidth(small: bool) -> float:
    """Bytes a second of a copy, read and written."""
    source = torch.empty((1 << 24) if small else (1 << 28), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds_each(lambda: target.copy_(source), 0.1 if small else 1)


def product_rate(precision: str, small: bool) -> float:
    """Operations a second of a product of square matrices in a precision."""
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    size = 512 if small else 8192 if DEVICE.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, size, size, device=DEVICE).to(dtype)
    return 2 * size**3 / seconds_each(lambda: a @ b, 0.1 if small else 1)


def plain_seconds(case: Case, precision: str, crop: int, seconds: float, ways: Sequence[str]) -> dict[str, float | str]:
    """Of an iteration of the same net in plain PyTorch, on a batch that lies on the device, by way and layout.

    Where one cannot be run, why.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cudnn.benchmark = True
    found: dict[str, float | str] = {}
    for way, layout in product(ways, LAYOUTS):
        images = torch.randn(case.batch, 1, crop, crop, device=DEVICE)
        labels = torch.randint(0, 7, (case.batch,), device=DEVICE)
        try:
            training = Training(case.net, DEVICE, "bf16" if precision == "bf16" else "fp32", layout == "channels_last")
            if way == "graph":
                run: Callable[[], object] = training.graph(images, labels)
            else:
                if way == "compiled":
                    training.compile()
                run = partial(training.step, images, labels)
            found[f"{way}, {layout}"] = seconds_each(run, seconds)
        except Exception as error:  # a compiler that is not there, a graph that cannot be: the others still count
            found[f"{way}, {layout}"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return found


def best(found: dict[str, float | str]) -> tuple[str, float]:
    """The fastest peer, and its seconds; nan where none could be run."""
    timed = {name: value for name, value in found.items() if isinstance(value, float)}
    name = min(timed, key=lambda key: timed[key], default="none")
    return name, timed.get(name, math.nan)


@dataclass
class Agreement:
    """How far a training on the device is from one on the CPU, and a graph's from one without: relative differences."""

    update: float
    """The largest in any parameter's first update, over that parameter's largest."""
    first_losses: float
    """Of the device's first ten losses from the CPU's."""
    losses: float
    """Of all of them: rounding grows with each iteration."""
    nudged_update: float
    """Of the CPU's first update from that of a training on the CPU whose first weights were moved by a rounding: a tie
    of a pooling or a ReLU that falls the other way changes a whole filter."""
    nudged_first_losses: float
    nudged_losses: float
    graph_first_losses: float
    """Of the first ten losses with a graph from those without, on the device."""
    graph_losses: float
    captured: bool
    iterations: int


def agreement(
    path: Path, iterations: int = 100, change: Callable[[caffe_pb2.SolverParameter], None] | None = None
) -> Agreement:
    """Train a still solver (nothing drawn) in fp32 on the CPU, twice, on the device, and there as a graph."""
    cpu, nudged, eager, graph = (
        _updates_and_losses(path, device, graphs, iterations, change, nudge)
        for device, graphs, nudge in (
            (torch.device("cpu"), False, 0.0),
            (torch.device("cpu"), False, torch.finfo(torch.float32).eps),
            (DEVICE, False, 0.0),
            (DEVICE, True, 0.0),
        )
    )
    update, nudged_update = (
        max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in zip(cpu[0], other[0], strict=True))
        for other in (eager, nudged)
    )
    off, graph_off, nudged_off = (
        (a[1] - b[1]).abs() / a[1].abs() for a, b in ((cpu, eager), (eager, graph), (cpu, nudged))
    )
    return Agreement(
        update, float(off[:10].max()), float(off.max()), nudged_update, float(nudged_off[:10].max()),
        float(nudged_off.max()), float(graph_off[:10].max()), float(graph_off.max()), graph[2], iterations,
    )  # fmt: skip


def _updates_and_losses(
    path: Path,
    device: torch.device,
    graphs: bool,
    iterations: int,
    change: Callable[[caffe_pb2.SolverParameter], None] | None,
    nudge: float,
) -> tuple[list[torch.Tensor], torch.Tensor, bool]:
    """The first update of each parameter, every loss (float64), and whether a graph was captured.

    `nudge`: by how much of itself each weight is moved up or down before the first iteration.
    """
    param = read_solver(path)
    if change:
        change(param)
    solver = Solver(param, path, Backend(device=device, graphs=graphs), Log(silent=True))
    net, training = solver.net, solver.training
    assert isinstance(net, Net) and isinstance(training, EngineTraining)
    learnable = [learned.parameter for learned in net.learnable if learned.parameter.requires_grad]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learnable if nudge else []:
            parameter *= 1 + nudge * torch.randint(-1, 2, parameter.shape, generator=generator)
    before = [parameter.detach().clone() for parameter in learnable]
    losses: list[torch.Tensor] = []
    updates: list[torch.Tensor] = []
    for _ in range(iterations):
        solver.step(1)
        losses.append(solver._losses[-1])
        updates = updates or [(p.detach() - old).cpu() for p, old in zip(learnable, before, strict=True)]
    return updates, torch.stack(losses).double().cpu(), training.step.captured


def disagreements(found: Agreement) -> list[str]:
    """What of it rounding does not explain: more than ten times what moving the weights by a rounding does."""
    limits = {
        "update": max(1e-3, 10 * found.nudged_update),
        "first_losses": max(1e-3, 10 * found.nudged_first_losses),
        "graph_first_losses": max(1e-3, 10 * found.nudged_first_losses),
        "losses": max(0.2, 10 * found.nudged_losses),
        "graph_losses": max(0.2, 10 * found.nudged_losses),
    }
    return [f"{name} {getattr(found, name):.1e} > {limit:.1e}" for name, limit in limits.items()
            if not getattr(found, name) <= limit]  # fmt: skip


@dataclass
class Row:
    """What was measured for a net, a solver and a precision; seconds are of one iteration."""

    net: str
    solver: str
    precision: str
    batch: int
    engine_seconds: float
    nchw_seconds: float
    """Of the engine with images and filters in NCHW, where `engine_seconds` are of channels_last."""
    plain: dict[str, float | str]
    """Seconds of each way to run plain PyTorch, or why it cannot be run so."""
    plain_best: str
    plain_seconds: float
    """Of the best of them."""
    bytes_floor: float
    operations_floor: float
    whole_seconds: float


def measure(case: Case, precision: str, rates: dict[str, float], options: argparse.Namespace) -> Row:
    engine = {}
    for layout in LAYOUTS:
        solver = make_solver(case.path, DEVICE, precision, layout)
        engine[layout] = seconds_each(partial(solver.step, 1), options.seconds, warm_up=2 if options.small else 20)
    seconds = engine["channels_last"]
    plain = plain_seconds(case, precision, solver.net.shapes["data"][2], options.seconds, options.peers)
    itemsize = 2 if precision == "bf16" else 4
    traffic = 5 * case.activations * itemsize + 8 * case.parameters * 4
    return Row(
        case.net, case.solver, precision, case.batch, seconds, engine["NCHW"], plain, *best(plain),
        traffic / rates["bandwidth"],
        6 * case.multiply_adds / rates[precision], seconds * case.max_iter,
    )  # fmt: skip


def device_name() -> str:
    return torch.cuda.get_device_name(DEVICE) if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def show(row: Row) -> None:
    floor = max(row.bytes_floor, row.operations_floor)
    print(
        f"{row.net + ' ' + row.solver:15}{row.precision:>5}{row.batch:6}{row.batch / row.engine_seconds:12,.0f}"
        f"{row.batch / row.plain_seconds:12,.0f}{row.plain_seconds / row.engine_seconds:8.2f}"
        f"{1e3 * row.engine_seconds:9.3f}{1e3 * row.bytes_floor:9.3f}{1e3 * row.operations_floor:9.3f}"
        f"{floor / row.engine_seconds:7.0%}{row.whole_seconds:10,.0f}"
        f"{1e3 * row.nchw_seconds:9.3f}  {row.plain_best}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a directory of `fer prepare`, or one with Training.png")
    nets = ["lenet:s2", "alexnet:s1", "alexnet:s2", "alexnet:s3", "alexnet227:s1"]
    parser.add_argument("--nets", nargs="+", default=nets, metavar="NET:SOLVER")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "bf16"], choices=["fp32", "tf32", "bf16"])
    ways = WAYS if DEVICE.type == "cuda" else WAYS[:1]
    parser.add_argument("--peers", nargs="+", default=ways, choices=ways, help="how plain PyTorch is run; compiling "
                        "takes half a minute for each net, precision and layout")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--small", action="store_true", help="small batches, few images, short times")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.small:
        options.seconds = min(options.seconds, 0.1)
    set_up_cpu()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-gpu-") as work:
            run(options, Path(work))
    except FerError as error:
        sys.exit(str(error))


def run(options: argparse.Namespace, work: Path) -> None:
    data = Data(options.data, work, 64 if options.small else COUNT)
    cases = [make_case(text, data, work, options.small) for text in options.nets]
    rates = {"bandwidth": bandwidth(options.small)}
    rates |= {precision: product_rate(precision, options.small) for precision in options.precisions}
    print(f"{date.today()}, {device_name()}, torch {torch.__version__}")
    print(f"copy {rates['bandwidth'] / 1e9:,.0f} GB/s; products ", end="")
    print(", ".join(f"{name} {rates[name] / 1e12:,.2f} TFLOP/s" for name in options.precisions))
    differences: dict[str, Agreement] = {}
    for case in cases:
        if case.net not in differences:
            differences[case.net] = agreement(case.still_path, 3 if options.small else 100)
    for name, found in differences.items():
        print(f"{name}: {DEVICE.type} and CPU differ by {found.update:.1e} (first update), {found.first_losses:.1e} "
              f"and {found.losses:.1e} (10 and {found.iterations} losses), weights moved by a rounding by "
              f"{found.nudged_update:.1e}, {found.nudged_first_losses:.1e} and {found.nudged_losses:.1e}, graph and no "
              f"graph by {found.graph_first_losses:.1e} and {found.graph_losses:.1e}, relative")  # fmt: skip
    print(f"{'':26}{'images/s':>12}{'plain':>12}{'x':>8}{'ms/iter':>9}", end="")
    print(f"{'by bytes':>9}{'by ops':>9}{'floor':>7}{'whole s':>10}{'NCHW ms':>9}  best plain")
    rows = []
    for case in cases:
        for precision in options.precisions:
            rows.append(measure(case, precision, rates, options))
            show(rows[-1])
    if options.json:
        result = {
            "date": str(date.today()), "device": device_name(), "torch": torch.__version__, "rates": rates,
            "agreement": {name: asdict(found) for name, found in differences.items()},
            "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    faults = [f"{name}: {fault}" for name, found in differences.items() for fault in disagreements(found)]
    if faults:
        sys.exit("the device and the CPU differ by more than rounding explains: " + "; ".join(faults))


if __name__ == "__main__":
    main()
