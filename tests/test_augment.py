"""The layer Augment: its grammar, its arithmetic in numpy and in torch, and real Caffe with it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training
from google.protobuf import text_format
from training import resume, train

from fer.engines.caffe.augmentation import DRAWS, Ranges, apply, draw, parse
from fer.engines.caffe_executable import CaffeExecutable
from fer.engines.interpreter import WORKER, find_caffe
from fer.engines.pycaffe import PyCaffe
from fer.engines.pytorch.layers.augment import Augment
from fer.engines.pytorch.registry import Context, Seeds, create
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.nets.shapes import infer_shapes
from fer.runs.run import Run
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash

ALL = "rotation: 15, shift: 0.1, scale: 0.1, brightness: 0.2, contrast: 0.3, erase: 0.5, seed: 1"
LAYER = """layer { name: "augment" type: "Python" bottom: "data" top: "data"
  python_param { module: "augment" layer: "Augment" param_str: "%s" } }"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def layer(param_str: str, shape: tuple[int, ...], phase: str = "TRAIN", seed: int = 1) -> Augment:
    (param,) = text_format.Parse(LAYER % param_str, caffe_pb2.NetParameter()).layer
    made = create(param, Context(phase, seeds=Seeds(seed)))
    assert isinstance(made, Augment) and made.setup([shape]) == [shape]
    return made


def faces(*shape: int) -> np.ndarray:
    return (np.random.default_rng(7).normal(size=shape) * 60 + 5).astype(np.float32)


def drawn(images: np.ndarray, **columns: float) -> np.ndarray:
    """Uniform numbers that change nothing, but for those named by their place."""
    uniform = np.full((len(images), DRAWS), 0.5, np.float32)
    for name, value in columns.items():
        uniform[:, ("turn", "right", "down", "size", "light", "contrast", "erase").index(name)] = value
    return uniform


# ---- param_str


def test_what_param_str_says() -> None:
    assert parse(ALL) == Ranges(15, 0.1, 0.1, 0.2, 0.3, 0.5, 1)
    assert parse("erase:1") == Ranges(erase=1)


@pytest.mark.parametrize(
    ("param_str", "says"),
    [
        ("", "'' is no key; write `key: number, ...` with rotation, shift, scale, brightness, contrast, erase, seed"),
        ("rotate: 15", "'rotate' is no key"),
        ("{'rotation': 15}", "\"{'rotation'\" is no key"),
        ("rotation: 15,", "'' is no key"),
        ("rotation: 15; shift: 0.1", "rotation: '15; shift: 0.1' is no number"),
        ("rotation 15", "'rotation 15' is no key"),
        ("rotation: 15, rotation: 5", "rotation is given twice"),
        ("shift: a tenth", "shift: 'a tenth' is no number"),
        ("shift:", "shift: '' is no number"),
        ("seed: 1.5", "seed: '1.5' is no number"),
        ("scale: 10", r"scale: 10 is not in 0\.\.1"),
        ("rotation: -15", r"rotation: -15 is not in 0\.\.180"),
        ("erase: nan", r"erase: nan is not in 0\.\.1"),
    ],
)
def test_a_faulty_param_str_is_an_error_that_names_what_is_valid(param_str: str, says: str) -> None:
    with pytest.raises(FerError, match=rf"layer 'augment' \(Python\): param_str: {says}"):
        layer(param_str, (2, 1, 5, 5))


def test_only_images_are_taken() -> None:
    with pytest.raises(FerError, match=r"takes images \[B, C, H, W\], not a bottom of shape \(2, 3\)"):
        layer(ALL, (2, 3))


# ---- arithmetic


@pytest.mark.parametrize("shape", [(64, 1, 44, 44), (8, 3, 20, 31), (4, 2, 1, 9), (3, 1, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "param_str", [ALL, "rotation: 180, scale: 1", "shift: 1", "brightness: 1", "contrast: 1", "erase: 1"]
)
def test_torch_does_what_numpy_does(param_str: str, shape: tuple[int, ...]) -> None:
    images, ours = faces(*shape), layer(param_str, shape)
    uniform, noise = draw(np.random.RandomState(3), shape, ours.ranges)
    wanted = apply(images, ours.ranges, uniform, noise)
    noise_too = None if noise is None else torch.from_numpy(noise)
    with torch.autocast("cpu", torch.bfloat16):  # as under --precision bf16: nothing is rounded here
        tensor = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        made = ours.apply(tensor, torch.from_numpy(uniform), noise_too)
    assert wanted.dtype == np.float32 and wanted.shape == shape
    # A place in the image is rounded to about 1e-5 pixels, and neighbouring pixels of these images differ by 200.
    assert np.abs(made.numpy() - wanted).max() <= 1e-4 * np.abs(images).max()


def test_a_quarter_turn_and_whole_pixels() -> None:
    images = faces(2, 3, 8, 8)
    turned = apply(images, Ranges(rotation=90), drawn(images, turn=1), None)
    assert np.allclose(turned, np.rot90(images, -1, (2, 3)), atol=1e-3)
    right = apply(images, Ranges(shift=0.25), drawn(images, right=1), None)
    assert np.allclose(right[..., 2:], images[..., :-2], atol=1e-3)
    assert np.allclose(right[..., :2], images[..., :1], atol=1e-3), "the border goes on"
    up = apply(images, Ranges(shift=0.25), drawn(images, down=0), None)
    assert np.allclose(up[:, :, :-2], images[:, :, 2:], atol=1e-3)


def test_twice_the_size_and_half_of_it() -> None:
    ramp = np.arange(9, dtype=np.float32) * np.ones((1, 1, 9, 1), np.float32)
    assert np.allclose(apply(ramp, Ranges(scale=1), drawn(ramp, size=1), None)[0, 0, 4], np.linspace(2, 6, 9))
    halved = apply(ramp, Ranges(scale=1), drawn(ramp, size=0), None)[0, 0, 4]
    assert np.allclose(halved, [0, 0, 0, 2, 4, 6, 8, 8, 8])


def test_brightness_and_contrast_go_by_the_images_own_mean_and_deviation() -> None:
    images = faces(4, 1, 12, 12)
    mean, deviation = (getattr(images, name)((1, 2, 3)) for name in ("mean", "std"))
    brighter = apply(images, Ranges(brightness=0.5), drawn(images, light=1), None)
    assert np.allclose(brighter.mean((1, 2, 3)), mean + 0.5 * deviation, atol=1e-2)
    flatter = apply(images, Ranges(contrast=0.25), drawn(images, contrast=0), None)
    assert np.allclose(flatter.mean((1, 2, 3)), mean, atol=1e-3)
    assert np.allclose(flatter.std((1, 2, 3)), 0.75 * deviation, rtol=1e-4)


def test_what_is_drawn_lies_within_its_ranges() -> None:
    """Of 2,000 images: as many are erased as asked, a rectangle of 2 to 20% each, anywhere."""
    shape = (2000, 1, 30, 30)
    ours = layer("erase: 0.25", shape)
    blank = torch.zeros(shape)
    blank[:, :, 0, 0] = 30.0  # so that there is a deviation to make noise of
    erased = ours.apply(blank, *ours.draw())[:, 0].ne(blank[:, 0])
    areas = erased.sum((1, 2))
    hit = areas > 0
    assert 0.22 < hit.float().mean() < 0.28
    tall, wide = erased.any(2).sum(1), erased.any(1).sum(1)
    assert (areas[hit] >= 0.9 * (tall * wide)[hit]).all(), "rectangles"
    share = areas[hit] / 900
    assert 0.015 < share.min() < 0.03 and 0.17 < share.max() < 0.22
    assert erased.any(0).float().mean() > 0.98, "anywhere"


# ---- the layer in a net


def test_in_test_images_pass_as_they_are() -> None:
    images = torch.from_numpy(faces(2, 1, 5, 5))
    (same,) = layer(ALL, (2, 1, 5, 5), "TEST").forward(images)
    assert same is images


def test_draws_come_from_the_seeds_and_a_saved_state_goes_on() -> None:
    images = torch.from_numpy(faces(4, 1, 9, 9)).requires_grad_()
    first, again, other_run = layer(ALL, (4, 1, 9, 9)), layer(ALL, (4, 1, 9, 9)), layer(ALL, (4, 1, 9, 9), seed=2)
    other = layer(ALL.replace("seed: 1", "seed: 2"), (4, 1, 9, 9))
    (one,) = first.forward(images)
    assert not one.requires_grad
    assert torch.equal(one, *again.forward(images))
    assert not torch.equal(one, *other.forward(images)) and not torch.equal(one, *other_run.forward(images))
    state = first.context.seeds.state()
    (two,) = first.forward(images)
    assert not torch.equal(one, two)
    resumed = layer(ALL, (4, 1, 9, 9), seed=3)
    resumed.context.seeds.load_state(state)
    assert torch.equal(two, *resumed.forward(images))


def test_the_shapes_of_a_net_with_it_are_known() -> None:
    source = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 dim: 5 dim: 5 } } }'
    net = text_format.Parse(source + LAYER % ALL, caffe_pb2.NetParameter())
    assert infer_shapes(net).blobs == {"data": (2, 1, 5, 5)}


def test_a_users_own_caffe_finds_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "their/layers")
    engine = CaffeExecutable("caffe", ("python", str(WORKER)), {"A": "b"}, executable=tmp_path / "caffe")
    assert engine.train_environment == {
        "A": "b",
        "PYTHONPATH": f"{WORKER.parent}{os.pathsep}{Path('their/layers').absolute()}",
    }
    assert PyCaffe("caffe", (), {"A": "b"}).train_environment == {"A": "b"}


def test_a_caffe_that_fer_starts_is_told_the_seed_of_the_run(
    tmp_path: Path, data: Path, fake: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    caffe = training.fake_executable(tmp_path)
    lines = caffe.read_text().splitlines()
    caffe.write_text("\n".join([lines[0], f'echo "$FER_RUN_SEED" > {tmp_path}/seed', *lines[1:], ""]))
    monkeypatch.setenv("FER_CAFFE", str(caffe))
    monkeypatch.setitem(ENGINES, "caffe", training.fake_with_tool)
    training.train_small(tmp_path, data, engine="caffe", seed=2**32 + 7, max_iter=5)
    assert (tmp_path / "seed").read_text() == "7\n"


# ---- real Caffe

IN_CAFFE = """
import sys, caffe, numpy as np
net = caffe.Net(sys.argv[1], caffe.TRAIN)
images, passes = np.load(sys.argv[2]), []
for _ in range(2):
    net.blobs["data"].data[...] = images
    passes.append(net.forward()["out"].copy())
net.layers[1].seek(0)
passes.append(net.forward()["out"].copy())
type(net.layers[1]).run_seed = 5
passes.append(net.forward()["out"].copy())
np.save(sys.argv[2], passes)
"""


@pytest.mark.full
def test_real_caffe_runs_it_with_the_same_arithmetic(tmp_path: Path) -> None:
    images, model, file = faces(6, 1, 12, 10), tmp_path / "net.prototxt", tmp_path / "images.npy"
    source = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 6 dim: 1 dim: 12 dim: 10 } } }'
    model.write_text(source + LAYER.replace('top: "data"', 'top: "out"') % ALL)
    np.save(file, images)
    found = find_caffe()
    command: list[str | Path] = [found.python, "-c", IN_CAFFE, model, file]
    environment = {**found.environment, "PYTHONPATH": str(WORKER.parent), "FER_RUN_SEED": "3"}
    subprocess.run(command, check=True, env=environment)
    for made, seeds in zip(np.load(file), ([3, 1, 0], [3, 1, 1], [3, 1, 0], [5, 1, 1]), strict=True):
        wanted = apply(images, parse(ALL), *draw(np.random.RandomState(seeds), images.shape, parse(ALL)))
        assert np.abs(made - wanted).max() <= 1e-4 * np.abs(images).max()


@pytest.mark.full
@pytest.mark.parametrize("engine", ["caffe", "pytorch"])
def test_a_training_stopped_and_resumed_is_the_one_never_stopped(tmp_path: Path, engine: str) -> None:
    data = training.make_data(tmp_path)
    augmented = (LAYER % ALL).replace("python_param", "include { phase: TRAIN } python_param")
    before, conv, after = training.NET.partition('layer { name: "conv"')
    files = training.write_net(tmp_path, net=before + augmented + conv + after, display=1, test_interval=4)

    def start(name: str, max_iter: int) -> Run:
        options: dict[str, Any] = {
            "engine": engine,
            "shuffle": engine == "pytorch",
            "seed": 1,
            "runs_dir": tmp_path / "runs",
        }
        return train(*files, data, name=name, max_iter=max_iter, **options)

    whole, stopped = start("whole", 7), resume(start("stopped", 3).dir, max_iter=7)
    assert file_hash(stopped.weights_file(7)) == file_hash(whole.weights_file(7))
