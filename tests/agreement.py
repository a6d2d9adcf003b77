"""What the tests of agreement share: a shipped net without chance in it, trained by either engine, and measures."""

import json
import subprocess
from pathlib import Path

import numpy as np

from fer.engines.interpreter import find_caffe
from fer.engines.pytorch.log import Log
from fer.engines.pytorch.solver import Setting, Solver
from fer.prototxt import find_net, find_solver, read_net, read_solver, write_text
from fer.run_prototxt import net_for_run
from fer.schema import caffe_pb2

ORACLE = Path(__file__).parent / "caffe_training_oracle.py"


def write_case(folder: Path, name: str, solver_name: str, data: Path, batch: int, test_batch: int) -> Path:
    """FOLDER/solver.prototxt of a shipped net: no dropout, mirror or crop, smaller batches. Nothing is left to chance.

    One test batch of `test_batch` images; snapshots only when asked for, to FOLDER/<engine>_iter_N.
    """
    net = net_for_run(read_net(find_net(name)), data)
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
    for field, value in {"test_interval": 10**6, "display": 0, "snapshot": 0, "random_seed": 1}.items():
        setattr(solver, field, value)
    for engine in ("caffe", "pytorch"):
        solver.snapshot_prefix = str(folder / engine)
        write_text(folder / f"{engine}.prototxt", solver)
    return folder


def caffe_runs(folder: Path, cases: list[dict[str, object]]) -> list[dict[str, np.ndarray]]:
    """What real Caffe makes of each case (see caffe_training_oracle.py; solver and out are filled in)."""
    for number, case in enumerate(cases):
        case.update(solver=str(folder / "caffe.prototxt"), out=str(folder / f"caffe_{number}.npz"))
    (folder / "cases.json").write_text(json.dumps(cases, default=str))
    caffe = find_caffe()
    subprocess.run([caffe.python, ORACLE, folder / "cases.json"], env=dict(caffe.environment), check=True)
    return [dict(np.load(str(case["out"]), allow_pickle=False)) for case in cases]


def pytorch_solver(folder: Path, snapshot: Path | None) -> Solver:
    path = folder / "pytorch.prototxt"
    return Solver(read_solver(path), path, Setting(log=Log(silent=True)), snapshot=snapshot)


def pytorch_run(folder: Path, snapshot: Path | None, iterations: int) -> dict[str, np.ndarray]:
    """As the oracle's answer, by the PyTorch engine in this process."""
    solver = pytorch_solver(folder, snapshot)
    out: dict[str, np.ndarray] = {}
    net = solver.test_nets[0]
    net.forward()
    out |= {f"test/{name}": value.numpy() for (name, _), value in zip(net.outputs, net.output_values(), strict=True)}
    losses = []
    for number in range(iterations):
        solver.step(1)
        losses.append(solver.net.blobs["loss"].item())
        if number == 0:
            out |= parameters(solver)
    solver.snapshot()
    return out | {"loss": np.array(losses)}


def parameters(solver: Solver) -> dict[str, np.ndarray]:
    return {
        f"after/{layer}/{i}": blob.detach().contiguous().numpy().copy()
        for layer, blobs in solver.net.params.items()
        for i, blob in enumerate(blobs)
    }


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs| / max |theirs|, of one blob or of the losses of one iteration."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def smoothed(losses: np.ndarray, window: int = 20) -> np.ndarray:
    """The moving mean."""
    return np.convolve(losses, np.ones(window) / window, mode="valid")


def spread(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square of the relative differences of two smoothed loss curves."""
    first, second = smoothed(first), smoothed(second)
    return float(np.sqrt(np.mean(((first - second) / second) ** 2)))
