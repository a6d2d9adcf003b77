"""fer export --format: each form proved by its own runtime, those of TensorFlow called in this process."""

import argparse
import importlib.util
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import cv2
import made_model
import numpy as np
import pytest
from frameworks import framework

from fer import cli
from fer.engines.core.weights import write_model
from fer.engines.registry import ENGINES
from fer.engines.tensorflow_engine import TensorFlow
from fer.errors import FerError, UsageError
from fer.evaluation.scores import load_scores
from fer.export import calibration, proof
from fer.export.calibration import calibration_images
from fer.export.exported import export_run
from fer.export.form import EXACT
from fer.export.form_classifier import FormClassifier
from fer.export.forms import forms_called
from fer.export.tensorflow_forms import FORMS, LITERT
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.inference.classifier import Classifier, find_model
from fer.inference.model_record import read_model_json
from fer.nets.states import State
from fer.nets.transform import Transform
from fer.runs.run import Run
from fer.schema import caffe_pb2

# Keras and TensorFlow use what NumPy and TensorFlow will do away with.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}:{of}.*")
    for kind in ("DeprecationWarning", "UserWarning")
    for of in ("keras", "tensorflow")
]
OF_TENSORFLOW = [form.name for form in FORMS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pytorch", made_model.here)
        return made_model.make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of a scored run; no engine checks Caffe's files."""
    for name in list(ENGINES):
        monkeypatch.delitem(ENGINES, name)
    return Run(shutil.copytree(made.dir, tmp_path / "small-s1"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs of the TensorFlow engine without its process."""
    pytest.importorskip("tensorflow")
    from fer.engines.tensorflow import exports

    LITERT.find()

    def run_verb(self: TensorFlow, argv: list[str], *_: Any) -> str:
        parser = argparse.ArgumentParser()
        (exports.export_options if argv[0] == "export" else exports.read_options)(parser)
        assert (exports.export if argv[0] == "export" else exports.read)(parser.parse_args(argv[1:])) == 0
        return ""

    monkeypatch.setattr(TensorFlow, "_call", run_verb)


@pytest.mark.full
def test_each_form_of_tensorflows_is_proved_and_its_lines_work(
    run: Run, here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.setattr(proof, "AGREEMENT", 0.7)  # the weights are drawn, and the classes' probabilities alike
    record = export_run(run, tmp_path / "out", forms=OF_TENSORFLOW)
    assert list(record.forms) == OF_TENSORFLOW and record == read_model_json(tmp_path / "out")
    for name, form in record.forms.items():
        assert form.integers == name.endswith("int8")
        assert form.agreement == 1 if not form.integers else form.agreement >= proof.AGREEMENT
        assert form.difference <= (0.2 if form.integers else EXACT) and form.bytes > 1000
    assert record.forms["tflite-int8"].bytes < record.forms["tflite"].bytes / 2
    assert record.calibration is not None and record.calibration.images == 70 and record.calibration.balanced
    assert {"model.keras", "savedmodel/saved_model.pb"} <= record.files.keys() and find_model(tmp_path / "out")

    monkeypatch.setattr(TensorFlow, "installed", lambda: False)  # LiteRT alone reads what TFLite is for
    probe = np.repeat(np.random.default_rng(1).integers(0, 256, (3, 1, 48, 1), np.uint8), 48, axis=3)
    with FormClassifier(tmp_path / "out", "tflite-uint8") as classify:
        np.testing.assert_allclose(classify(probe), Classifier(find_model(tmp_path / "out"))(probe), atol=0.1)

    monkeypatch.chdir(tmp_path / "out")
    with Database(Path(run.record.data.dir) / "val_lmdb") as database:
        cv2.imwrite("face.png", database.read_all()[0][0, 0])
    face, _caffe, _opencv, *blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert len(blocks) == len(OF_TENSORFLOW)
    for name, lines in zip(OF_TENSORFLOW, blocks, strict=True):
        names: dict[str, Any] = {"Interpreter": tf.lite.Interpreter}
        with warnings.catch_warnings(action="ignore"):  # tf.lite's own, of ai-edge-litert
            exec(face + re.sub("from ai_edge_litert.*\n", "", lines), names)
        wanted = load_scores(run.scores("val")).probs[0]
        np.testing.assert_allclose(names["probabilities"], wanted, atol=0.1 if "int8" in name else 1e-5)
    given = names["given"]
    assert given["dtype"] == names["made"]["dtype"] == np.uint8  # the last one's
    assert given["quantization"] == (1, 0)  # a camera's bytes as they are


@pytest.mark.full
def test_integers_that_disagree_are_refused(run: Run, here: None, tmp_path: Path) -> None:
    words = r"TFLite, int8 gives .*% of val's .* own class; 97% is the least\n.*conv \d+ dB.*\ntry tflite, in floats"
    with pytest.raises(FerError, match=words):
        export_run(run, tmp_path / "out", forms=["tflite-int8"])
    assert {path.name for path in tmp_path.iterdir()} == {"small-s1"}


@pytest.mark.parametrize("forms", [["kears"], ["onnx", "tflite_int8"], [""]])
def test_a_form_that_there_is_not_names_those_there_are(run: Run, tmp_path: Path, forms: list[str]) -> None:
    with pytest.raises(UsageError, match=r"there is no such form.*there are onnx, .*keras, savedmodel, tflite"):
        export_run(run, tmp_path / "out", forms=forms)
    assert cli.main(["export", str(run.dir), "--format", ",".join(forms)]) == 2
    assert not (tmp_path / "out").exists() and not (run.dir / "export").exists()


def test_without_tensorflow_its_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in OF_TENSORFLOW:
        with pytest.raises(FerError, match=r"needs tensorflow.*\n.*install.* tensorflow-cpu h5py"):
            forms_called([name])[0].need()
    assert [form.name for form in forms_called(["onnx", "onnx"])] == ["onnx"]


def test_what_integers_are_chosen_by_is_balanced_and_the_same_each_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(Path(run.record.data.dir) / "train_lmdb") as database:
        pixels, labels, *_ = database.read_all()
    label_of = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    for count, images in ((28, 28), (30, 30), (300, 70)):
        monkeypatch.setattr(calibration, "IMAGES", count)
        drawn = calibration_images(run)
        chosen, said = drawn.images, drawn.record
        assert chosen.shape == (images, 1, 48, 48) and chosen.dtype == np.uint8
        counts = np.bincount([label_of[image.tobytes()] for image in chosen])
        assert len(counts) == 7 and counts.max() - counts.min() <= 1 and said.balanced and said.images == images
        assert np.array_equal(chosen, calibration_images(run).images)


NORMALIZED = """
name: "a net, of spaces"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 12 dim: 12 } } }
layer { name: "a/conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 3
  weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "norm" type: "LRN" bottom: "conv" top: "norm" lrn_param { local_size: 3 alpha: 0.5 %s } }
layer { name: "max" type: "Pooling" bottom: "norm" top: "max" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "pool" type: "Pooling" bottom: "max" top: "pool" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param { num_output: 7
  weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("", ""),
        ("beta: 0.6", "layer 'norm': TFLite has it in floats alone, and the net would not be whole in integers"),
    ],
    ids=["alexnet's", "a power"],
)
def test_a_normalized_net_is_whole_in_integers_or_refused(here: None, tmp_path: Path, more: str, fault: str) -> None:
    from fer.engines.tensorflow.exports import whole_model

    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "w.caffemodel"
    deploy.write_text(NORMALIZED % more)
    net = framework("pytorch").on([], "fp32").net(read_net(deploy), State("TEST"), seed=1)
    write_model(weights, net)
    images = np.random.default_rng(1).integers(0, 256, (40, 1, 14, 14), np.uint8)
    np.save(tmp_path / "images.npy", images)
    param = caffe_pb2.TransformationParameter(crop_size=12, scale=1 / 64, mean_value=[128])
    out = tmp_path / "x.tflite"
    arguments = ("tflite-int8", deploy, weights, param, (1, 14, 14), out)
    if fault:
        with pytest.raises(FerError, match=fault):
            TensorFlow().export(*arguments, calibration=tmp_path / "images.npy")
        assert not out.exists()
        return
    TensorFlow().export(*arguments, calibration=tmp_path / "images.npy")
    pixels = images.transpose(0, 2, 3, 1).astype(np.float32)
    wanted = np.asarray(whole_model(deploy, weights, Transform(param, (1, 14, 14)))(pixels))
    found = LITERT.predict(out, images.astype(np.float32)).probs
    assert np.abs(found - wanted).max() < 0.1 and (found.argmax(1) == wanted.argmax(1)).mean() > 0.9
    assert np.abs(wanted - net.infer(Transform(param, (1, 14, 14)).views(images)[0], "prob")).max() < 1e-5
