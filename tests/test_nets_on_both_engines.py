"""The nets of make_nets.py on both engines, from the same weights and with nothing left to chance (but see below).

The Caffe of the wheel does not train BatchNorm (its answers in TRAIN are wrong, and `fer` refuses such a net on it). So
nets with BatchNorm are compared in a training step where there is a build (`make caffe-test`), and everywhere in how
both engines score the same images: in TEST, with the statistics of a training by PyTorch.
"""

from collections.abc import Callable
from pathlib import Path

import agreement
import numpy as np
import pytest
import torch
from agreement import Continued, relative
from solver_cases import ENGINES, backend, torch_net

from fer.engines.core.verbs.predict import predict
from fer.engines.interpreter import CaffePython
from fer.engines.registry import find_engine
from fer.formats.prototxt import read_net
from fer.nets.deploy import front_layer
from fer.nets.zoo import find_net

pytestmark = pytest.mark.full

SIDE = 44  # the crop, which these images have already
CLOSE = 1e-4
# Gradients are compared as updates, of which float32 keeps fewer digits: weights are a thousand times larger.
CLOSE_UPDATES = 1e-3


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


WITH_NORM = ("vgg8", "vgg13", "resnet18h", "resnet18", "alexnetbn", "googlenetbn")


@pytest.mark.parametrize("name", ["googlenet", "tang", *WITH_NORM])
def test_one_training_step_is_caffe_s(
    name: str, random_data: Callable[[int], Path], tmp_path: Path, seed: int, caffe: CaffePython
) -> None:
    if caffe.build is None and name in WITH_NORM:
        pytest.skip("the wheel's BatchNorm does not train")
    folder = agreement.write_case(tmp_path, name, "s1", random_data(SIDE), batch=3, test_batch=7, seed=seed)
    agreement.pytorch_solver(folder, None).snapshot()
    start = folder / "pytorch_iter_0.solverstate"
    (caffes,) = agreement.caffe_runs(folder, caffe, [{"snapshot": start, "iterations": 1, "watch": 0, "test": True}])
    both = agreement.go_on(folder, start, caffes, agree, iterations=1)
    assert both.ours.keys() == {key for key in caffes if not key.startswith("blob/")}
    # Before the first update BatchNorm has no statistics yet, so that the numbers of a deep net in TEST overflow.
    tested = [] if name in WITH_NORM else ["test/loss"]
    assert name in WITH_NORM or both.ours["test/accuracy"] == caffes["test/accuracy"]
    for key in ["loss", *tested]:
        assert relative(both.ours[key], caffes[key]) <= CLOSE, key
    assert all(np.abs(caffes[key] - blob).max() > 0 for key, blob in both.before.items())
    assert agree(both), both.update


def agree(both: Continued) -> bool:
    return both.update[0] <= CLOSE_UPDATES


@pytest.mark.parametrize("name", WITH_NORM)
def test_what_pytorch_trains_caffe_scores_alike(
    name: str, random_data: Callable[[int], Path], tmp_path: Path, seed: int
) -> None:
    # The rate is lower than the solver's: with batches of 7 a net would soon be sure of one class for any image.
    data = random_data(SIDE)
    folder = agreement.write_case(tmp_path, name, "s1", data, batch=7, test_batch=7, seed=seed, base_lr=0.002)
    solver = agreement.pytorch_solver(folder, None)
    before = agreement.parameters(solver)
    losses = []
    for _ in range(2):
        solver.step(1)
        losses.append(torch_net(solver.net).blobs["loss"].item())
    solver.snapshot()
    assert losses[0] == pytest.approx(np.log(7), rel=0.1) and losses[1] != losses[0] and np.isfinite(losses[1])
    assert all(np.abs(blob - before[key]).max() > 0 for key, blob in agreement.parameters(solver).items())
    images = np.random.default_rng(7).integers(0, 256, (7, 1, SIDE, SIDE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    transform = front_layer(read_net(folder / "net.prototxt")).transform_param
    weights, rest = folder / "pytorch_iter_2.caffemodel", (tmp_path / "images.npy", transform)
    deploy = find_net(name).with_name("deploy.prototxt")
    assert deploy is not None
    for engine in ENGINES:
        predict(backend(engine), deploy, [weights], *rest, [tmp_path / f"{engine}.npz"])
    find_engine("caffe").predict(deploy, [weights], *rest, [tmp_path / "caffe.npz"])
    theirs, *ours = (np.load(tmp_path / f"{who}.npz", allow_pickle=False)["probs"] for who in ("caffe", *ENGINES))
    assert theirs.shape == (7, 7) and np.ptp(theirs, axis=0).max() > 1e-3  # the images do not all look the same to it
    assert max(np.abs(probs - theirs).max() for probs in ours) <= 1e-5
