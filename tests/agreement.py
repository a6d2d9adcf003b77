"""What the tests of agreement share: a shipped net without chance in it, trained by either engine, and measures."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from conftest import FER2013_CSV_WRITER, ROOT, write_fer2013
from solver_cases import torch_net
from ties import ROUNDINGS, Tie, choose_as_caffe

from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.interpreter import CaffePython
from fer.engines.pytorch.backend import Backend
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.nets.zoo import find_net, find_solver
from fer.schema import caffe_pb2
from fer.training.run_prototxts import net_for_run

ORACLE = Path(__file__).parent / "caffe_training_oracle.py"
Arrays = dict[str, np.ndarray]


def prepared_faces(folder: Path, *, real: int, drawn: int) -> Path:
    """A data directory of `real` images of FER2013 a split, or of `drawn` ones a class where that is not there."""
    if FER2013_CSV_WRITER.exists():
        csv = write_fer2013(folder / "fer2013.csv", "--per-split", str(real))
    else:
        csv = folder / "sample.csv"
        make = ROOT / "scripts" / "make_sample.py"
        subprocess.run([sys.executable, make, csv, "--train", str(drawn), "--test", "20"], check=True)
    prepare(csv, folder / "data", PrepareOptions())
    return folder / "data"


def write_case(
    folder: Path, name: str, solver_name: str, data: Path, batch: int, test_batch: int, seed: int, **fields: object
) -> Path:
    """FOLDER/solver.prototxt of a shipped net: no Augment, dropout, mirror or crop, smaller batches.

    Nothing is left to chance.
    One test batch of `test_batch` images; snapshots only when asked for, to FOLDER/<engine>_iter_N; `fields` of the
    solver besides.
    """
    net = net_for_run(read_net(find_net(name)), data)
    for layer in [layer for layer in net.layer if layer.type == "Python"]:
        net.layer.remove(layer)  # Augment, in place
    for layer in net.layer:
        if layer.type == "Dropout":
            layer.dropout_param.dropout_ratio = 0
        if layer.type == "Data":
            layer.transform_param.ClearField("crop_size")
            layer.transform_param.mirror = False
            layer.data_param.batch_size = test_batch if "val_lmdb" in layer.data_param.source else batch
    write_text(folder / "net.prototxt", net)
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(read_solver(find_solver(name, solver_name)))
    solver.net = str(folder / "net.prototxt")
    solver.test_iter[:] = [1]
    solver.test_initialization = False
    settings = {"test_interval": 10**6, "display": 0, "snapshot": 0, "random_seed": seed} | fields
    for field, value in settings.items():
        setattr(solver, field, value)
    for engine in ("caffe", "pytorch", "tensorflow"):
        solver.snapshot_prefix = str(folder / engine)
        write_text(folder / f"{engine}.prototxt", solver)
    return folder


def caffe_runs(folder: Path, caffe: CaffePython, cases: list[dict[str, object]], threads: int = 1) -> list[Arrays]:
    """What real Caffe makes of each case (see caffe_training_oracle.py; solver and out are filled in)."""
    for number, case in enumerate(cases):
        case.update(solver=str(folder / "caffe.prototxt"), out=str(folder / f"caffe_{number}.npz"))
    (folder / "cases.json").write_text(json.dumps(cases, default=str))
    blas = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "2"}
    subprocess.run([caffe.python, ORACLE, folder / "cases.json"], env=caffe.environment | blas, check=True)
    return [dict(np.load(str(case["out"]), allow_pickle=False)) for case in cases]


def pytorch_solver(folder: Path, snapshot: Path | None) -> Solver:
    path = folder / "pytorch.prototxt"
    return Solver(read_solver(path), path, Backend(), Log(silent=True), snapshot=snapshot)


def pytorch_run(
    folder: Path, snapshot: Path, iterations: int, caffes: Arrays | None = None
) -> tuple[Arrays, list[Tie]]:
    """As the oracle's answer to a case with "test" and "watch": 0, but for the blobs, by the engine in this process.

    Given Caffe's own answer, three iterations at most choose as Caffe did; with the ties of all of them.
    """
    solver = pytorch_solver(folder, snapshot)
    net = torch_net(solver.test_nets[0])
    net.forward()
    out = {f"test/{name}": value.numpy() for (name, _), value in zip(net.outputs, net.output_values(), strict=True)}
    losses, ties = [], []
    for number in range(iterations):
        blobs = blobs_of(caffes, number) if caffes else {}
        found = choose_as_caffe(torch_net(solver.net), blobs) if blobs else []
        solver.step(1)
        ties += found
        losses.append(torch_net(solver.net).blobs["loss"].item())
        if number == 0:
            out |= parameters(solver)
    return out | {"loss": np.array(losses)}, ties


def blobs_of(caffes: Arrays, number: int) -> dict[str, torch.Tensor]:
    prefix = f"blob/{number}/"
    return {key.removeprefix(prefix): torch.from_numpy(caffes[key]) for key in caffes if key.startswith(prefix)}


def parameters(solver: Solver) -> Arrays:
    return {
        f"after/{layer}/{i}": blob.detach().contiguous().numpy().copy()
        for layer, blobs in torch_net(solver.net).params.items()
        for i, blob in enumerate(blobs)
    }


@dataclass(frozen=True)
class Continued:
    """What each engine makes of one snapshot (`before`), and where ours was told of Caffe's choices."""

    before: Arrays
    ours: Arrays
    caffes: Arrays
    ties: list[Tie]

    @property
    def parameters(self) -> tuple[float, str]:
        """After the first update: the largest difference of a parameter blob, and which blob."""
        return max((relative(self.ours[name], self.caffes[name]), name) for name in self.before)

    @property
    def update(self) -> tuple[float, str]:
        """Of the first update itself: the largest difference of what a parameter blob moved by, and which blob."""
        return max(
            (relative(self.ours[name] - blob, self.caffes[name] - blob), name) for name, blob in self.before.items()
        )

    def loss(self, iterations: int) -> float:
        """The largest relative difference of the first losses.

        Less one rounding at 1: the loss of an image known by heart is -log of nearly 1.
        """
        ours, theirs = self.ours["loss"][:iterations], self.caffes["loss"][:iterations]
        return float(np.max(np.maximum(np.abs(ours - theirs) - np.finfo(np.float32).eps, 0) / theirs))


def go_on(
    folder: Path, snapshot: Path, caffes: Arrays, agree: Callable[[Continued], bool], iterations: int = 3
) -> Continued:
    """Up to three iterations from a snapshot; told of Caffe's choices only where the engines do not `agree` without.

    The one way in which whole nets' updates are compared: where a choice was told that was no tie, it is an error.
    """
    before = parameters(pytorch_solver(folder, snapshot))
    alone = Continued(before, pytorch_run(folder, snapshot, iterations)[0], caffes, [])
    if agree(alone):
        return alone
    ours, ties = pytorch_run(folder, snapshot, iterations, caffes)
    assert all(tie.roundings <= ROUNDINGS for tie in ties), ties
    return Continued(before, ours, caffes, ties)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |theirs|, of one blob."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def smoothed(losses: np.ndarray, window: int = 20) -> np.ndarray:
    """The moving mean."""
    return np.convolve(losses, np.ones(window) / window, mode="valid")


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """The largest relative difference of two smoothed loss curves."""
    first, second = smoothed(first), smoothed(second)
    return float(np.max(np.abs(first - second) / second))
