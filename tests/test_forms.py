"""Forms for devices: each layer in ncnn's own words, each form read back by its runtime, and what is refused."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import cv2
import made_model
import numpy as np
import pytest
from drawn_net import CASES, INPUT, UNCOVERED, by_torch, drawn, net_of
from google.protobuf import text_format

from fer import cli
from fer.engines.registry import ENGINES
from fer.errors import FerError, UsageError
from fer.evaluation.scores import Scores, load_scores
from fer.export import proof
from fer.export.device_forms import INPUTS, NCNN, ToolForm
from fer.export.exported import export_run
from fer.export.form import EXACT, Job, Reader, Reads
from fer.export.form_classifier import FormClassifier
from fer.export.forms import FORMS, forms_called
from fer.export.ncnn_model import to_ncnn
from fer.export.simulated_forms import Simulated
from fer.export.tool import TOOLS, Tool
from fer.inference.classifier import Classifier, find_model
from fer.inference.model_record import ModelRecord, read_model_json
from fer.schema import caffe_pb2

DISAGREES = r"its reader gives 5\d.\d% of val's images the run's own class; 97% is the least\n"
NOT_IN_NCNN = {"scale of rows"}
READ = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from ncnn_tool import extract, read_net
for path in sorted(Path(".").glob("*.param")):
    net = read_net(str(path))
    images = np.load("images.npy")
    answers = [extract(net, image, net.output_names()[:1])[0].ravel() for image in images]
    np.save(path.with_suffix(".npy"), np.stack(answers))
"""


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", made_model.here)
    for name in ("caffe", "tensorflow"):
        monkeypatch.delitem(ENGINES, name)


@pytest.mark.full
def test_ncnn_computes_each_layer(tmp_path: Path) -> None:
    images = np.random.default_rng(2).normal(size=(2, 2, 11, 12)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    names = [case for case in CASES if case not in NOT_IN_NCNN]
    expected = {}
    for number, case in enumerate(names):
        net = net_of(case)
        blobs = drawn(net)
        written = to_ncnn(net, blobs, None)
        (tmp_path / f"{number:02}.param").write_text(written.param)
        (tmp_path / f"{number:02}.bin").write_bytes(written.bin)
        expected[number] = by_torch(net, blobs, images)
    found = NCNN.find()
    subprocess.run([found.python, "-c", READ, str(TOOLS)], cwd=tmp_path, env=found.environment, check=True)
    answers = [np.load(tmp_path / f"{number:02}.npy") for number in range(len(names))]
    off = {
        case: np.abs(answer - expected[number]).max()
        for number, (case, answer) in enumerate(zip(names, answers, strict=True))
    }
    assert {case: each for case, each in off.items() if not each <= 2e-5} == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *UNCOVERED,
        ('type: "Scale" scale_param { axis: 2 }', "Scale of other than a number a channel"),
        ('type: "Concat" bottom: "data" concat_param { axis: 0 }', "Concat of images"),
    ],
)
def test_what_ncnn_does_not_know_is_refused(text: str, words: str) -> None:
    layers = f'{INPUT} layer {{ name: "odd" bottom: "data" top: "odd" {text} }}'
    net = text_format.Parse(layers, caffe_pb2.NetParameter())
    with pytest.raises(FerError, match=f"layer 'odd': ncnn has no .*{words}"):
        to_ncnn(net, drawn(net), None)


@pytest.mark.full
def test_every_form_is_proved_by_its_own_runtime(
    proved_forms: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(proof, "AGREEMENT", 0.7)  # drawn weights hardly tell the classes apart
    run = made_model.make_run(tmp_path)
    out = tmp_path / "out"
    arguments = ["export", str(run.dir), "--out", str(out), "--fold", "--format", ",".join(proved_forms), "--yes"]
    assert cli.main(arguments) == 0
    record = read_model_json(out)
    assert list(record.forms) == ["onnx", *proved_forms] and record.folded
    for name in proved_forms:
        form, kept, called = record.forms[name], {file.split(".")[0] for file in record.files}, FORMS[name]
        assert form.agreement >= proof.AGREEMENT and (form.integers or form.difference <= called.tolerance)
        assert (
            form.test is not None
            and bool(form.milliseconds) == bool(called.tool and not isinstance(called, Simulated))
            and form.versions
        )
        assert called.camera_file in record.files or called.file == "savedmodel"
        assert not isinstance(called, ToolForm) or {f"{name}/{kind}" for kind in INPUTS} <= kept
        assert re.search(f"`{called.file}/?`", (out / "README.md").read_text())
    images = record.calibration
    assert images and {images.file: images.sha256, images.list: images.list_sha256}.items() <= record.files.items()
    whole, integers = record.forms["ncnn"], record.forms["ncnn-int8"]
    assert integers.bytes < 0.5 * whole.bytes and integers.difference > whole.difference
    calibration = np.load(out / "calibration" / "images.npy")
    assert len(calibration) == len((out / "calibration" / "list.txt").read_text().splitlines())
    face = tmp_path / "face.png"
    cv2.imwrite(str(face), calibration[0, 0])
    for name in ("ncnn", "onnx-int8", "openvino"):
        capsys.readouterr()
        assert cli.main(["predict", str(face), "--no-detect", "--json", "--model", str(out), "--runtime", name]) == 0
        (said,) = json.loads(capsys.readouterr().out)["images"]
        probs = list(said["faces"][0]["probabilities"].values())
        own = Classifier(find_model(out))(calibration[:1])[0]
        np.testing.assert_allclose(probs, own, atol=0.2 if FORMS[name].integers else EXACT)
    capsys.readouterr()
    assert cli.main(["export", "--compare", str(out)]) == 0
    table = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", table, re.MULTILINE) for name in proved_forms)
    assert cli.main(["export", "--compare", str(out), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["forms"]) == ["onnx", *proved_forms]


@dataclasses.dataclass
class Off:
    """A form whose answers are the run's own, `off` by a number or `wrong` in a share of the classes."""

    scores: Scores
    integers: bool
    wrong: float
    off: float
    ratios: dict[str, float] | None
    name = file = camera_file = "off"
    tool = None
    tolerance = EXACT

    def need(self) -> None: ...

    def versions(self) -> dict[str, str]:
        return {}

    def refused(self, job: Job) -> dict[str, str]:
        return {}

    def noise(self, job: Job) -> dict[str, float]:
        if self.ratios is None:
            raise FerError("its runtime ended")
        return self.ratios

    def write(self, job: Job) -> None:
        (job.model.directory / self.file).write_bytes(b"x")

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        return {"its reader": Reads(self.read)}, {}

    def read(self, images: np.ndarray) -> np.ndarray:
        probs = self.scores.probs[: len(images)] + np.float32(self.off)
        wrong = int(self.wrong * len(probs))
        probs[:wrong] = np.roll(probs[:wrong], 1, axis=1)
        return probs

    def readme(self, record: ModelRecord) -> str:
        return ""


@pytest.mark.parametrize(
    ("integers", "wrong", "off", "ratios", "words"),
    [
        (False, 0, 2e-4, {}, r"its reader .* up to 0.0002 off the run's own \(val, \d+.jpg\)\n.*; 0.0001 is allowed"),
        (True, 0.5, 0, None, rf"{DISAGREES}least signal to noise in the weights: \w+ \d+ dB, .*\ntry .* in floats"),
        (True, 0.5, 0, {}, rf"{DISAGREES}least signal to noise in the weights: \w+ \d+ dB"),
        (
            True,
            0.5,
            0,
            {"conv": 31.4, "relu": 33.3, "hidden": 8.1, "ip": 12.0},
            r"in what layers give to images of calibration: hidden 8 dB \(of 33 before it\), ip 12 dB .*, conv 31 dB\n",
        ),
        (False, 0, np.nan, {}, "its reader gives no probabilities of 7 classes"),
    ],
)
def test_a_form_that_is_off_is_refused_and_nothing_stays(
    integers: bool, wrong: float, off: float, ratios: dict[str, float], words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = made_model.make_run(tmp_path)
    monkeypatch.setitem(FORMS, "off", Off(load_scores(run.scores("val")), integers, wrong, off, ratios))
    assert cli.main(["export", str(run.dir), "--format", "off"]) == 1
    assert re.search(words, capsys.readouterr().err)
    assert not (run.dir / "export").exists()


def test_what_must_be_fetched_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_model.make_run(tmp_path)
    monkeypatch.setattr(Tool, "is_there", lambda tool: False)

    def fetched(tool: Tool, say: object = None) -> None:
        raise AssertionError("fetched without a word")

    monkeypatch.setattr(Tool, "find", fetched)
    assert cli.main(["export", str(run.dir), "--format", "ncnn,openvino"]) == 1
    assert "ncnn (30 MB), OpenVINO and nncf (150 MB) must be fetched first" in capsys.readouterr().err


def test_a_runtime_wants_a_form_that_was_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_model.make_run(tmp_path)
    export_run(run, tmp_path / "out")
    monkeypatch.setattr(Tool, "is_there", lambda tool: True)
    for directory, words in ((run.dir, "is no export"), (tmp_path / "out", "has no such form; there is onnx")):
        with pytest.raises(UsageError, match=words):
            FormClassifier(directory, "ncnn")


@pytest.mark.parametrize(
    ("names", "words"), [("nccn", "no such form.*ncnn"), ("mnn", "by hand alone"), ("ncnn,rkn", "rkn")]
)
def test_a_form_that_is_not_known(names: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        forms_called(names.split(","))


def test_forms_are_taken_once_in_order() -> None:
    assert [form.name for form in forms_called(["ncnn", "onnx-int8", "ncnn"])] == ["onnx-int8", "ncnn"]
