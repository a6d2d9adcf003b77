"""Training with the TensorFlow engine against real Caffe: LeNet and AlexNet on a real LMDB, nothing left to chance.

What a free run adds to this is the PyTorch engine's test (test_pytorch_agreement.py): here each engine goes on from the
other's snapshots, of iterations 0 and 100. Parameters are compared as max |ours - theirs| / max |theirs|.
"""

from dataclasses import dataclass
from pathlib import Path

import agreement
import numpy as np
import pytest
from solver_cases import backend

from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.interpreter import CaffePython
from fer.formats.prototxt import read_solver

pytestmark = pytest.mark.full

CLOSE = 1e-5
NETS = {"lenet": ("s2", 8), "alexnet": ("s1", 2)}
STATES = (0, 100)


@dataclass(frozen=True)
class Trained:
    """A net's folder, and what Caffe makes of our snapshot of each of STATES in three iterations."""

    folder: Path
    caffes: dict[int, agreement.Arrays]


def solver_of(folder: Path, snapshot: Path | None = None) -> Solver:
    path = folder / "tensorflow.prototxt"
    return Solver(read_solver(path), path, backend("tensorflow"), Log(silent=True), snapshot=snapshot)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 real images of each split; drawn ones where FER2013 is not there."""
    return agreement.prepared_faces(tmp_path_factory.mktemp("data"), real=500, drawn=300)


@pytest.fixture(scope="module", params=NETS)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path, seed: int, caffe: CaffePython
) -> Trained:
    name = request.param
    solver, batch = NETS[name]
    folder = agreement.write_case(tmp_path_factory.mktemp(name), name, solver, data, batch, test_batch=20, seed=seed)
    ours = solver_of(folder)
    for iteration in STATES:
        ours.step(iteration - ours.iteration)
        ours.snapshot()
    states = [folder / f"tensorflow_iter_{iteration}.solverstate" for iteration in STATES]
    cases = [{"snapshot": state, "iterations": 3, "watch": 0, "test": True} for state in states]
    return Trained(folder, dict(zip(STATES, agreement.caffe_runs(folder, caffe, list(cases)), strict=True)))


@pytest.mark.parametrize("iteration", STATES)
def test_one_update_is_caffe_s(trained: Trained, iteration: int) -> None:
    """The same scores and loss from the same snapshot, and the same parameters after the update."""
    theirs = trained.caffes[iteration]
    ours = solver_of(trained.folder, trained.folder / f"tensorflow_iter_{iteration}.solverstate")
    net = ours.test_nets[0]
    for (name, _), value in zip(net.outputs, net.evaluate()[1], strict=True):
        assert float(net.host(value)) == pytest.approx(float(theirs[f"test/{name}"]), rel=CLOSE)
    losses = []
    for number in range(3):
        ours.step(1)
        losses.append(float(ours.net.host(ours._losses[-1])))
        if number == 0:
            differences = {
                f"{layer}/{index}": apart(ours.net.blob(layer, index), theirs[f"after/{layer}/{index}"])
                for layer, shapes in ours.net.blob_shapes.items()
                for index in range(len(shapes))
            }
    assert differences and max(differences.values()) <= CLOSE, differences
    assert losses == pytest.approx(theirs["loss"][:3].tolist(), rel=CLOSE)


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
