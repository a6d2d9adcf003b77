"""What a net looks at, what it is given, and how a report shows it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import training
from made_report import report_of
from made_run import make_run
from numpy.typing import NDArray

from fer.engines.core import tool
from fer.engines.core.weights import write_model
from fer.engines.engine import Engine
from fer.engines.pytorch.backend import PyTorch as Torch
from fer.engines.pytorch_engine import PyTorch
from fer.errors import FerError
from fer.evaluation.explain import choose_faces
from fer.evaluation.occlusion import occlusion_maps
from fer.evaluation.scores import load_scores, make_scores
from fer.formats.database import read_mean
from fer.formats.prototxt import read_net, write_text
from fer.nets.preview import data_part
from fer.nets.states import State
from fer.runs.explained import Explained, ExplainedMeta, read_explained, write_explained
from fer.runs.run import Run

# The second class is seen by the light of the right half of the picture, past a convolution.
DEPLOY = """
input: "data" input_shape { dim: 1 dim: 1 dim: 12 dim: 12 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 1 kernel_size: 3
  pad: 1 weight_filler { value: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 6 stride: 6 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def corner_net(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sees class 0 by the light of the top left quarter alone."""
    height, width = images.shape[2:]
    light = images[:, :, : height // 2, : width // 2].mean(axis=(1, 2, 3)) / 255
    return np.stack([light, 1 - light], axis=1)


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 30, 44), (1, 5, 5)])
def test_a_map_is_high_where_the_net_looks_and_nowhere_else(shape: tuple[int, int, int]) -> None:
    height, width = shape[1:]
    image = np.zeros(shape, np.uint8)
    image[:, : height // 2, : width // 2] = 255  # its mean gray lies between
    first, second = occlusion_maps(np.stack([image, image]), corner_net, [0, 1])
    assert first.shape == (height, width)
    assert first[: height // 4, : width // 4].min() > 0
    assert first[height // 2 + height // 5 :].max() == 0
    np.testing.assert_allclose(first, -second, atol=1e-6)  # what speaks for one class speaks against the other


def test_every_image_needs_a_class() -> None:
    with pytest.raises(ValueError, match="1 classes"):
        occlusion_maps(np.zeros((2, 1, 8, 8), np.uint8), corner_net, [0])


@pytest.mark.parametrize(("classes", "faces"), [(2, 6), (7, 21), (10, 20), (30, 24)])
def test_faces_are_of_every_class_as_far_as_there_is_room(classes: int, faces: int) -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(classes), 20)
    probs = random.dirichlet([1.0] * classes, len(labels))
    probs[np.arange(len(labels)), labels] += 0.5 * random.random(len(labels))
    scores = make_scores("val", [str(i) for i in labels.cumsum() + np.arange(len(labels))], labels,
                         probs / probs.sum(axis=1, keepdims=True))  # fmt: skip
    rows = choose_faces(scores)
    assert len(rows) == len(set(rows)) == faces
    assert len(set(labels[rows])) == min(classes, 24)
    if classes == 7:
        assert scores.correct[rows].reshape(7, 3).tolist() == [[True, False, True]] * 7


def test_grad_cam_is_bright_where_the_class_is_seen(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    net = Torch().on([], "fp32").net(read_net(tmp_path / "deploy.prototxt"), State("TEST"))
    net.set_blob("conv", 0, np.full((1, 1, 3, 3), 1 / 9, np.float32))
    net.set_blob("ip", 0, np.array([[0, 1, 0, 1], [0, 0, 0, 0]], np.float32))
    write_model(tmp_path / "weights.caffemodel", net)
    images = np.full((2, 1, 16, 16), 10, np.uint8)
    images[:, :, 4:8, 9:13] = 250
    np.save(tmp_path / "images.npy", images)
    words = ["grad_cam", "--model", "deploy.prototxt", "--weights", "weights.caffemodel", "--source", "images.npy"]
    words = [str(tmp_path / word) if "." in word else word for word in words]
    options = ["--transform", "crop_size: 12 scale: 0.01", "--out", str(tmp_path / "maps.npz")]
    assert tool.main(Torch(), [*words, *options, "--classes", "0,0"]) == 0
    maps = np.load(tmp_path / "maps.npz")["maps"]
    assert maps.shape == (2, 16, 16) and maps.max() == 1
    assert np.unravel_index(maps[0].argmax(), (16, 16)) in [(y, x) for y in (5, 6) for x in (10, 11)]
    assert not maps[:, :2].any() and not maps[:, :, -2:].any()  # outside of the crop
    assert tool.main(Torch(), [*words, *options, "--classes", "0"]) == 1


@pytest.mark.parametrize("engine", [PyTorch, pytest.param(training.real_caffe, marks=pytest.mark.full)])
def test_a_batch_is_what_the_data_layers_give(tmp_path: Path, data: Path, engine: type[Engine]) -> None:
    plain = training.NET.replace("crop_size: 44 mirror: true", "").replace('"mean.', f'"{data}/mean.')
    (tmp_path / "net.prototxt").write_text(plain.replace('"train_lmdb"', f'"{data}/train_lmdb"'))
    part = data_part(read_net(tmp_path / "net.prototxt"), State("TRAIN"))
    assert [layer.name for layer in part.layer] == ["data"]
    write_text(tmp_path / "part.prototxt", part)
    engine().set_up().batch(tmp_path / "part.prototxt", tmp_path / "batch.npz", state=State("TRAIN"), seed=1)
    found = np.load(tmp_path / "batch.npz")
    first, label = (data / "train.txt").read_text().splitlines()[0].rsplit(" ", 1)
    image = cv2.imread(str(data / "train" / first), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    expected = (image.astype(np.float32) - read_mean(data / "mean.binaryproto")[0]) / 256
    np.testing.assert_allclose(found["data"][0, 0], expected, atol=1e-6)
    assert found["data"].shape == (16, 1, 48, 48) and found["label"][0] == int(label)


def test_what_changes_images_belongs_to_the_data(tmp_path: Path) -> None:
    augment = 'layer { name: "augment" type: "Python" bottom: "data" top: "data" python_param { layer: "Augment" } }\n'
    (tmp_path / "net.prototxt").write_text(
        training.NET.replace('layer { name: "conv"', augment + 'layer { name: "conv"')
    )
    part = data_part(read_net(tmp_path / "net.prototxt"), State("TRAIN"))
    assert [layer.name for layer in part.layer] == ["data", "augment"]


def explained(run: Run, **meta: Any) -> Explained:
    """Maps and pictures of a made run's chosen snapshot."""
    scores = load_scores(run.scores("val"))
    random, count = np.random.default_rng(3), 7
    made = ExplainedMeta("ab", scores.meta.database_sha256, "", "", "", 7, scores.files[:count])
    return Explained(
        replace(made, **meta),
        random.integers(0, 256, (count, 1, 48, 48), np.uint8),
        scores.labels[:count],
        scores.predictions[:count],
        scores.probs[:count].max(axis=1),
        random.normal(size=(count, 48, 48)).astype(np.float32),
        random.random((count, 48, 48), np.float32),
        random.normal(size=(20, 1, 5, 5)).astype(np.float32),
        random.normal(size=(32, 1, 42, 42)).astype(np.float32),
        np.zeros(32, np.float32),
    )


def test_a_report_explains(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = explained(run)
    write_explained(run.explained, found)
    (run.dir / "deploy.prototxt").write_text(DEPLOY)
    result = report_of(run)
    page = (run.report_dir / "report.html").read_text()
    contents = re.findall(r'<a href="#[^"]*">([^<]*)</a>', page.split("</nav>")[0])
    assert {"Calibration", "The net", "PublicTest (val)"} <= set(contents)
    for name in ("calibration_val", "calibration_test", "confusions_val", "maps_val", "filters", "batch"):
        assert f'id="figure-{name}"' in page and f'href="figures/{name}.svg"' in page
    assert re.search(r"conv</th>.*?Convolution.*?1x12x12.*?>10<.*?0\.0013 M", page, re.DOTALL)
    calibration = result.splits["test"].calibration
    assert calibration and calibration.temperature == result.splits["val"].calibration.temperature  # type: ignore[union-attr]
    assert result.splits["val"].labels_in_doubt and result.splits["test"].labels_in_doubt is None
    rows = (run.report_dir / "labels_in_doubt_val.csv").read_text().splitlines()
    assert len(rows) == 1 + result.splits["val"].labels_in_doubt
    # Another snapshot's maps, and maps that are gone, are not shown.
    write_explained(run.explained, replace(found, meta=replace(found.meta, weights_sha256="cd")))
    report_of(run)
    assert 'id="figure-maps_val"' not in (run.report_dir / "report.html").read_text()


def test_what_a_report_cannot_show_it_says(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    whole = explained(run, grad_cam="the PyTorch engine needs torch\npip install torch", batch="Caffe says: no")
    nothing = np.zeros((0, 0, 0, 0), np.float32)
    write_explained(run.explained, replace(whole, grad_cam=np.zeros((0, 48, 48), np.float32), batch=nothing))
    (run.dir / "deploy.prototxt").write_text(DEPLOY.replace("Pooling", "Crop"))
    assert report_of(run).notes == ()  # nothing is wrong with the run
    page = (run.report_dir / "report.html").read_text()
    assert "No Grad-CAM is shown: the PyTorch engine needs torch.<" in page
    assert "No batch of the training is shown: Caffe says: no.<" in page
    assert re.search("No table of the net is shown: .*Crop", page)


def test_an_explanation_that_was_edited_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_explained(run.explained, explained(run))
    data = bytearray(run.explained.read_bytes())
    data[len(data) // 2] ^= 1
    run.explained.write_bytes(data)
    with pytest.raises(FerError, match="damaged"):
        read_explained(run.explained)
