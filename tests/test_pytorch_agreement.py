"""Training with the PyTorch engine against real Caffe: LeNet and AlexNet on a real LMDB, nothing left to chance.

Batches are smaller than the shipped nets' (16 of LeNet's 64 images, 4 of AlexNet's 100), so that this file stays
quick. Parameters are compared blob by blob as max |ours - theirs| / max |theirs|, losses as |ours - theirs| / theirs
(and a difference of one rounding of float32 at 1 is none: the loss of an image known by heart is -log of nearly 1).
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import agreement
import cv2
import numpy as np
import pytest
import torch
from agreement import relative, spread
from conftest import FER2013_CSV_WRITER, ROOT, write_fer2013

from fer.database import Database
from fer.engines import find_engine
from fer.prepare import PrepareOptions, prepare
from fer.prototxt import derive_deploy, read_net, write_text

pytestmark = pytest.mark.full

FREE = 200  # iterations that both engines run by themselves
CLOSE = 1e-5
NETS = {"lenet": ("s2", 16), "alexnet": ("s1", 4)}
# A ReLU whose sum is 0 but for its last bit, or a pooling window with two largest that differ in their last bit:
# rounding decides which way the gradient goes, and the update is finitely another (about one update in ten; one of
# conv4's 384 biases at AlexNet's very first). Real Caffe with another BLAS does the same. So every comparison is made
# from two consecutive states, and the closer one counts; the losses must agree from both.
STATES = (0, 1, 100, 101, 1000, 1001)


@dataclass(frozen=True)
class Trained:
    """What both engines made of one net.

    `ours` and `caffes` are the losses of the free run (Caffe's with one BLAS thread and with two); `from_ours[n]` is
    what each engine (ours first) makes of our snapshot of iteration n in three iterations, `from_caffes` the same of
    Caffe's snapshots.
    """

    folder: Path
    ours: np.ndarray
    caffes: list[np.ndarray]
    from_ours: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]
    from_caffes: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,000 real images of each split (or all); drawn ones where FER2013 is not there."""
    folder = tmp_path_factory.mktemp("data")
    if FER2013_CSV_WRITER.exists():
        csv = write_fer2013(folder / "fer2013.csv", "--per-split", "4000")
    else:
        csv = folder / "sample.csv"
        make = ROOT / "scripts" / "make_sample.py"
        subprocess.run([sys.executable, make, csv, "--train", "600", "--test", "20"], check=True)
    prepare(csv, folder / "data", PrepareOptions())
    return folder / "data"


@pytest.fixture(scope="module", params=NETS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Trained:
    name = request.param
    solver, batch = NETS[name]
    folder = agreement.write_case(tmp_path_factory.mktemp(name), name, solver, data, batch, test_batch=100)
    agreement.caffe_runs(folder, [{"snapshot": None, "iterations": 0}])
    start = folder / "caffe_iter_0.solverstate"
    ours = free_run(folder, start)
    cases: list[dict[str, object]] = [
        {"snapshot": start, "iterations": FREE, "threads": 2},
        {"snapshot": start, "iterations": FREE},
        {"snapshot": folder / f"caffe_iter_{FREE}.solverstate", "iterations": 1},
    ]
    states = [folder / f"caffe_iter_{FREE + i}.solverstate" for i in (0, 1)]
    states += [folder / f"pytorch_iter_{number}.solverstate" for number in STATES]
    cases += [{"snapshot": state, "iterations": 3} for state in states]
    answers = agreement.caffe_runs(folder, cases)
    both = [
        (agreement.pytorch_run(folder, state, 3), caffes) for state, caffes in zip(states, answers[3:], strict=True)
    ]
    return Trained(
        folder,
        ours,
        [answers[1]["loss"], answers[0]["loss"]],
        dict(zip(STATES, both[2:], strict=True)),
        dict(zip((FREE, FREE + 1), both[:2], strict=True)),
    )


def free_run(folder: Path, start: Path) -> np.ndarray:
    """Train from Caffe's first snapshot to the last of STATES, with a snapshot of each; gives the first losses."""
    solver = agreement.pytorch_solver(folder, start)
    losses = []
    for iteration in range(max(STATES) + 1):
        if iteration in STATES:
            solver.snapshot()
        solver.step(1)
        losses.append(solver.net.blobs["loss"].item())
    return np.array(losses[:FREE])


@pytest.mark.parametrize("iteration", [0, 100, 1000])
def test_one_update_is_caffe_s(trained: Trained, iteration: int) -> None:
    """The same loss from the same snapshot, and the same parameters after the update."""
    differences = []
    for ours, caffes in (trained.from_ours[iteration], trained.from_ours[iteration + 1]):
        assert largest(ours["loss"][:1], caffes["loss"][:1]) <= CLOSE
        blobs = [name for name in caffes if name.startswith("after/")]
        assert sorted(blobs) == sorted(name for name in ours if name.startswith("after/"))
        differences.append(max((relative(ours[name], caffes[name]), name) for name in blobs))
    print(f"iteration {iteration}: largest difference of a parameter blob {differences}")
    assert min(differences)[0] <= CLOSE, differences


def test_snapshots_of_ours_go_on_in_caffe(trained: Trained) -> None:
    for iteration in (0, 100, 1000):
        assert_close(trained.from_ours[iteration], trained.from_ours[iteration + 1])


def test_snapshots_of_caffe_s_go_on_here(trained: Trained) -> None:
    """Its own, without anything beside the state: the data goes on where it was all the same."""
    assert not list(trained.folder.glob("caffe_iter_*.fer.npz"))
    assert_close(*trained.from_caffes.values())


def assert_close(*pairs: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    """The same three losses in one of two pairs of runs."""
    differences = [largest(ours["loss"], caffes["loss"]) for ours, caffes in pairs]
    print(f"next three losses: {differences}")
    assert min(differences) <= CLOSE


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest relative difference of two rows of losses."""
    assert ours.shape == theirs.shape
    return float(np.max(np.maximum(np.abs(ours - theirs) - np.finfo(np.float32).eps, 0) / theirs))


def test_scores_of_the_same_snapshot_are_equal(trained: Trained) -> None:
    for iteration in (0, 100, 1000):
        ours, caffes = trained.from_ours[iteration]
        assert ours["test/accuracy"] == pytest.approx(caffes["test/accuracy"], abs=1e-7)
        assert ours["test/loss"] == pytest.approx(caffes["test/loss"], rel=CLOSE)


def test_left_to_itself_it_stays_within_twice_of_what_caffe_differs_from_itself(trained: Trained) -> None:
    """Rounding grows: Caffe with two BLAS threads is not Caffe with one. Curves are means over 20 iterations, compared
    by the root mean square of their relative differences; ours is compared with the nearer of Caffe's two."""
    caffes_own = spread(*trained.caffes)
    ours = min(spread(trained.ours, caffe) for caffe in trained.caffes)
    print(f"smoothed losses: ours {ours:.2e} from Caffe's, Caffe's own spread {caffes_own:.2e}")
    assert caffes_own > 0, "Caffe took one thread in both runs"
    assert ours <= 2 * caffes_own, f"{ours:.2e} where Caffe differs from itself by {caffes_own:.2e}"


def test_opencv_reads_our_files(trained: Trained, data: Path) -> None:
    """OpenCV's own Caffe importer gives our probabilities, of the trained weights."""
    weights = trained.folder / "pytorch_iter_1000.caffemodel"
    deploy = trained.folder / "deploy.prototxt"
    write_text(deploy, derive_deploy(read_net(trained.folder / "net.prototxt"), (1, 48, 48)))
    with Database(data / "val_lmdb") as database:
        images = database.read_all()[0][:50]
    np.save(trained.folder / "images.npy", images)
    plain = trained.folder / "plain.prototxt"
    plain.write_text('layer { name: "data" type: "Data" top: "data" transform_param { scale: 0.01 mean_value: 128 } }')
    out = trained.folder / "scores.npz"
    find_engine("pytorch").predict(deploy, weights, trained.folder / "images.npy", plain, out)
    with np.load(out, allow_pickle=False) as scores:
        ours = scores["probs"]
    net = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
    net.setInput((images.astype(np.float32) - 128) * np.float32(0.01))
    theirs = net.forward().reshape(len(images), -1)
    assert ours.std(axis=0).max() > 1e-3  # it tells images apart
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
