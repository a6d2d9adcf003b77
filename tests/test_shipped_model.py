"""The model in fer/inference/model, as `fer export RUN --out` wrote it: whole, small, and what it was when proved."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer import cli
from fer.data.classes import CLASSES
from fer.errors import FerError
from fer.export.exported import probe_images
from fer.export.form import EXACT as TOLERANCE
from fer.inference.classifier import (
    ONNX,
    SHIPPED,
    WEIGHTS,
    Classifier,
    answers,
    find_model,
)
from fer.inference.model_record import MODEL_JSON, read_model_json
from fer.runs.record import RunRecord
from fer.system.hashes import file_hash
from fer.system.records import read_record


def test_every_file_is_the_one_that_was_proved() -> None:
    record = read_model_json(SHIPPED)
    assert {path.name: file_hash(path) for path in SHIPPED.iterdir() if path.name != MODEL_JSON} == record.files
    assert (SHIPPED / WEIGHTS).stat().st_size <= 10_000_000
    assert record.classes == CLASSES
    assert max(record.largest_difference_on_val.values()) <= TOLERANCE


def test_it_says_what_it_said() -> None:
    record, model = read_model_json(SHIPPED), find_model()
    probe = probe_images(model.transform.shape)
    np.testing.assert_allclose(Classifier(model)(probe), record.probe, atol=TOLERANCE)
    if record.onnx:
        net = cv2.dnn.readNetFromONNX(str(SHIPPED / ONNX))
        told = answers(net, probe.astype(np.float32), len(CLASSES), SHIPPED / ONNX)
        np.testing.assert_allclose(told, record.probe, atol=TOLERANCE)


def test_its_record_names_no_folder_of_the_machine_it_was_trained_on() -> None:
    assert '"/' not in (SHIPPED / "run.json").read_text(encoding="utf-8")
    assert read_record(SHIPPED / "run.json", RunRecord).net == read_model_json(SHIPPED).net


def test_it_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "face.png"), probe_images((1, 48, 48))[0, 0])
    assert cli.main(["predict", "--no-detect", str(tmp_path / "face.png")]) == 0
    assert capsys.readouterr().out.split()[: len(CLASSES)] == list(CLASSES)


def test_a_net_without_outputs_is_refused_before_opencv_divides_by_them(tmp_path: Path) -> None:
    model = find_model()
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(re.sub(r"num_output: \d+", "num_output: 0", model.deploy.read_text()))
    with pytest.raises(FerError, match=r"deploy\.prototxt: layer .* num_output.* must be 1 or more"):
        Classifier(replace(model, deploy=deploy))
