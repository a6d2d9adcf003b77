"""A layer that a form has not is named by its line in the prototxt, with the forms that have it."""

import re
from dataclasses import replace
from pathlib import Path

import made_model
import numpy as np
import pytest
import training
from drawn_net import UNCOVERED
from form_job import job_of

from fer import cli
from fer.engines.registry import ENGINES
from fer.engines.tensorflow_engine import TensorFlow
from fer.errors import FerError, Interrupted
from fer.export.device_forms import Converted
from fer.export.form import Job
from fer.export.forms import FORMS, forms_called
from fer.export.layers import check_layers, told_where
from fer.inference.classifier import DEPLOY, Classifier
from fer.nets.lint import KNOWN_LAYERS

IMAGES = np.zeros((2, 2, 11, 12), np.uint8)
OF_TENSORFLOW = "keras, savedmodel, tflite"
REWIRED = ('bottom: "conv" top: "hidden"', 'bottom: "odd" top: "hidden"')
OF_ONNX = "onnx, openvino, rknn, kmodel"


def job_with(folder: Path, odd: str) -> Job:
    """The odd layer begins on line 2."""
    return job_of(folder, f'layer {{ name: "odd"\n bottom: "data" top: "odd" {odd} }}', IMAGES)


def refusal(job: Job, *names: str) -> str:
    with pytest.raises(FerError) as refused:
        check_layers(job, forms_called(names), job.model.deploy)
    return str(refused.value)


@pytest.mark.parametrize(("text", "words"), UNCOVERED)
@pytest.mark.parametrize("name", ["onnx-int8", "ncnn-int8", "openvino"])
def test_what_onnx_and_ncnn_have_not(name: str, text: str, words: str, tmp_path: Path) -> None:
    job = job_with(tmp_path, text)
    said = refusal(job, name)
    assert re.fullmatch(rf"{job.model.deploy}:2: layer 'odd': {name} has no .*{words}.*; {OF_TENSORFLOW} have it", said)
    check_layers(job, forms_called(["keras", "tflite"]), job.model.deploy)


@pytest.mark.parametrize(
    ("text", "forms", "missing", "there"),
    [
        (
            'type: "Scale" scale_param { axis: 2 }',
            ["onnx", "ncnn", "ncnn-int8"],
            "ncnn, ncnn-int8",
            f"{OF_ONNX}, {OF_TENSORFLOW}",
        ),
        ('type: "LSTM" recurrent_param { num_output: 3 }', ["keras", "tflite"], "keras, tflite", None),
        ('type: "Slice"', ["onnx", "openvino", "ncnn"], "onnx, ncnn, openvino", OF_TENSORFLOW),
        ('type: "Unheard"', list(FORMS), ", ".join(FORMS), None),
    ],
)
def test_each_form_says_what_it_has(
    text: str, forms: list[str], missing: str, there: str | None, tmp_path: Path
) -> None:
    said = refusal(job_with(tmp_path, text), *forms)
    has = "has" if "," not in missing else "have"
    known = f"{there} have it" if there else "no form has it"
    hint = "\n--no-onnx leaves ONNX out" if missing.startswith("onnx,") else ""
    assert re.fullmatch(rf".*/{DEPLOY}:2: layer 'odd': {missing} {has} no \w+ [\w ]+; {known}{hint}", said)


def test_all_layers_are_named_at_once(tmp_path: Path) -> None:
    odd = 'type: "MVN" }\nlayer { name: "two" type: "BNLL" bottom: "odd" top: "two" '
    assert [line.partition(":")[2][:16] for line in refusal(job_with(tmp_path, odd), "ncnn").splitlines()] == [
        "2: layer 'odd': ", "4: layer 'two': "
    ]  # fmt: skip


def test_the_forms_of_tensorflow_have_what_its_engine_has(tmp_path: Path) -> None:
    for kind in TensorFlow().lacks:
        assert FORMS["keras"].refused(job_with(tmp_path, f'type: "{kind}"')) == {"odd": f"{kind} layers"}
    assert not FORMS["keras"].refused(job_with(tmp_path, 'type: "Tile"')) and "Tile" in KNOWN_LAYERS


@pytest.mark.parametrize(
    ("said", "name", "told"),
    [
        ("layer 'odd': TFLite has it in floats alone", "tflite-int8", r"^D:2: layer 'odd': .*\nonnx.*, tflite have it"),
        ("TensorFlow says: layer 'odd' (MVN): no", "keras", r"^D:2: .*\ntflite has it"),
        ('OpenCV cannot run D: no layer "odd"', None, r"^D:2: OpenCV cannot run D: no layer \"odd\"$"),
        ("OpenCV cannot read D", None, "^OpenCV cannot read D$"),
        ("layer 'another': no", "ncnn", "^layer 'another': no$"),
    ],
)  # fmt: skip
def test_what_is_met_later_is_told_where(said: str, name: str | None, told: str, tmp_path: Path) -> None:
    """D is the copy that is read in what is said, the run's own file in what is told."""
    text = 'type: "LRN"' if "floats alone" in said else 'type: "MVN"'
    job = job_with(tmp_path, text)
    own = tmp_path / "run" / DEPLOY
    own.parent.mkdir()
    own.write_bytes(job.model.deploy.read_bytes())
    with (
        pytest.raises(FerError) as error,
        told_where(job, own, FORMS[name] if name else None),
    ):
        raise FerError(said.replace("D", str(job.model.deploy)) if "OpenCV" in said else said)
    assert re.search(told, str(error.value).replace(str(own), "D"))


def test_a_stop_stays_a_stop(tmp_path: Path) -> None:
    job = job_with(tmp_path, 'type: "MVN"')
    with pytest.raises(Interrupted, match=r"^layer 'odd'$"), told_where(job, job.model.deploy):
        raise Interrupted("layer 'odd'", 2)


def test_it_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", made_model.here)
    odd = '\nlayer { name: "odd" type: "BNLL" bottom: "conv" top: "odd" }\nlayer { name: "hidden"'
    net = training.NET.replace('\nlayer { name: "hidden"', odd).replace(
        'bottom: "conv" top: "hidden"', 'bottom: "odd" top: "hidden"'
    )
    monkeypatch.setattr(training, "NET", net)
    run = made_model.make_run(tmp_path)
    capsys.readouterr()
    assert cli.main(["export", str(run.dir)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    line = 1 + run.deploy.read_text().partition('name: "odd"')[0].rpartition("layer {")[0].count("\n")
    assert f"{run.deploy}:{line}: layer 'odd': onnx has no BNLL layers; {OF_TENSORFLOW} have it --no-onnx" in said
    assert "checking" not in said and not (run.dir / "export").exists()


def test_opencv_may_have_layers_whose_shapes_are_not_known_here(tmp_path: Path) -> None:
    job = job_with(tmp_path, 'type: "Reshape" reshape_param { shape { dim: 0 dim: -1 } }')
    answer = Classifier(job.model).outputs(IMAGES + np.uint8(184))
    assert answer.shape == (2, 2 * 11 * 12) and (answer == 1).all()


def test_batch_is_model_onnx_s_alone(tmp_path: Path) -> None:
    """A device's form takes one image at a time, which its tool gives it."""
    form = FORMS["onnx-fp16"]
    assert isinstance(form, Converted)
    made = form._made(replace(job_with(tmp_path, 'type: "ReLU"'), batch=4), None)
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_value != 4
