"""fer export: files that other programs read, there only when they give the run's own probabilities."""

import json
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import made_model
import numpy as np
import pytest

from fer import cli, open_run
from fer.engines.interpreter import find_caffe
from fer.engines.pytorch_engine import PyTorch
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.export import exported as export
from fer.export.exported import export_run, probe_images
from fer.export.form import EXACT as TOLERANCE
from fer.formats.database import Database
from fer.inference import classifier
from fer.inference.classifier import Classifier, find_model
from fer.inference.model_record import ExportedSnapshot
from fer.report.run_list import list_runs
from fer.runs.opened import newest_run
from fer.runs.record import Average
from fer.runs.run import ExportedModel, Run
from fer.system.hashes import file_hash

REAL_CAFFE = ENGINES["caffe"]
FILES = {
    "README.md", "deploy.prototxt", "labels.txt", "mean.binaryproto", "mean.npy", "model.json", "model.onnx",
    "run.json", "weights.caffemodel",
}  # fmt: skip


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", made_model.here)
    monkeypatch.delitem(ENGINES, "caffe")
    monkeypatch.delitem(ENGINES, "tensorflow")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pytorch", made_model.here)
        return made_model.make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy of it, scored."""
    return Run(shutil.copytree(made.dir, tmp_path / "small-s1"))


def images_of(run: Run, split: str = "val") -> np.ndarray:
    with Database(Path(run.record.data.dir) / f"{split}_lmdb") as database:
        return database.read_all()[0]


def code_of(directory: Path) -> list[str]:
    """The README's blocks: the face, then one a program."""
    return re.findall(r"```python\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)


def test_the_files_give_the_runs_probabilities(run: Run, tmp_path: Path) -> None:
    record = export_run(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert {"OpenCV (Caffe's files)", "OpenCV (ONNX)", "PyTorch"} <= record.largest_difference_on_val.keys()
    scores = load_scores(run.scores("val"))
    probs = Classifier(find_model(tmp_path / "out"))(images_of(run))
    assert np.abs(probs - scores.probs).max() < 1e-5 < scores.probs.std()
    assert record.snapshot.iteration == scores.meta.iteration
    assert record.accuracy["val"].accuracy == np.mean(scores.probs.argmax(axis=1) == scores.labels)


def test_what_is_given_on_says_nothing_of_the_machine(run: Run, tmp_path: Path) -> None:
    """The repository ships such a directory."""
    export_run(run, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert str(Path(run.record.data.dir).parent).encode() not in path.read_bytes(), path
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(record["snapshots"]) == [str(load_scores(run.scores("val")).meta.iteration)]
    assert record["command"][-1] == "train_val.prototxt"
    assert set(record["data"]["files"]) == {"mean.binaryproto", "val_lmdb/data.mdb"}


def test_the_probe_needs_no_data_set(run: Run, tmp_path: Path) -> None:
    record = export_run(run, tmp_path / "out")
    model = find_model(tmp_path / "out")
    probe = probe_images(model.transform.shape)
    assert probe.dtype == np.uint8 and len(np.unique(probe)) > 50
    assert np.abs(Classifier(model)(probe) - record.probe).max() < 1e-5


def test_the_readmes_lines_work(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_run(run, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    cv2.imwrite("face.png", images_of(run)[0, 0])
    face, _pycaffe, opencv, onnx, _onnxruntime = code_of(tmp_path / "out")
    for lines in (opencv, onnx):
        assert len(lines.splitlines()) == 3
        names: dict[str, Any] = {}
        exec(face + lines, names)
        np.testing.assert_allclose(names["probabilities"], load_scores(run.scores("val")).probs[0], atol=1e-6)


@pytest.mark.full
def test_real_caffe_reads_the_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "caffe", REAL_CAFFE)
    record = export_run(run, tmp_path / "out")
    assert record.largest_difference_on_val["Caffe"] < 1e-5
    np.save(tmp_path / "face.npy", images_of(run)[0].astype(np.float32))
    _face, pycaffe, *_ = code_of(tmp_path / "out")
    assert len(pycaffe.splitlines()) == 4  # one of them imports
    script = f"import numpy as np\nface = np.load('../face.npy')\n{pycaffe}\nnp.save('../answer.npy', probabilities)"
    found = find_caffe()
    subprocess.run([found.python, "-c", script], cwd=tmp_path / "out", env=found.environment, check=True)
    answer = np.load(tmp_path / "answer.npy")
    np.testing.assert_allclose(answer, load_scores(run.scores("val")).probs[0], atol=1e-6)


def test_other_probabilities_are_refused_and_an_earlier_export_stays(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_run(run, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setitem(ENGINES, "pytorch", partial(made_model.here, off=2 * TOLERANCE))
    with pytest.raises(FerError, match=r"PyTorch reads .* off the run's own \(val, \d+\.jpg\)\nso nothing was written"):
        export_run(run, out)
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    with pytest.raises(FerError, match="nothing was written"):
        export_run(run, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "small-s1"}
    monkeypatch.setitem(ENGINES, "pytorch", partial(made_model.here, off=TOLERANCE / 2))
    assert export_run(run, out).largest_difference_on_val["PyTorch"] == pytest.approx(TOLERANCE / 2, rel=0.05)


def test_an_engine_that_is_not_there_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(PyTorch):
        def set_up(self, say: Any = None) -> Any:
            raise FerError("needs torch\npip install")

    monkeypatch.setitem(ENGINES, "pytorch", Absent)
    record = export_run(run, tmp_path / "out", forms=())
    assert record.not_checked == {"pytorch": "needs torch"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"model.onnx"}
    assert "onnx" not in (tmp_path / "out" / "README.md").read_text()


def test_what_is_no_export_is_not_replaced(run: Run, tmp_path: Path) -> None:
    with pytest.raises(FerError, match="is no exported model"):
        export_run(run, run.dir)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FerError, match="is no exported model"):
        export_run(run, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_is_a_run_or_an_export_or_ships(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_run(run, tmp_path / "out")
    mine, theirs = find_model(run.dir), find_model(tmp_path / "out")
    assert mine.classes == theirs.classes and mine.transform.shape == theirs.transform.shape == (1, 48, 48)
    images = images_of(run, "test")
    np.testing.assert_allclose(Classifier(mine)(images), Classifier(theirs)(images), atol=1e-7)
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path / "out")
    assert find_model().directory == tmp_path / "out"
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path / "none")
    with pytest.raises(FerError, match="--model runs/lenet-s2"):
        find_model()
    with pytest.raises(FerError, match="neither a run nor an exported model"):
        find_model(tmp_path)


def test_a_run_that_is_not_scored_has_no_chosen_snapshot(run: Run) -> None:
    run.scores("val").unlink()
    with pytest.raises(FerError, match="is not scored"):
        find_model(run.dir)


def test_a_mean_of_snapshots_may_be_the_chosen_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = "snapshots/small_average_1-2.caffemodel"
    made_model.mean_of_two(run, file)
    entry = Average((1, 2), run.hashed(run.dir / file))
    run.update(averages={"average_1-2": entry})
    monkeypatch.setattr(export, "score_run", lambda run, **options: score_run(run, snapshot="average_1-2", **options))
    record = export_run(run, tmp_path / "out")
    assert find_model(run.dir).weights == run.dir / file
    assert record.snapshot == ExportedSnapshot(2, (1, 2), file_hash(run.dir / file))
    trained = json.loads((tmp_path / "out" / "run.json").read_text())
    assert trained["snapshots"] == {} and list(trained["averages"]) == ["average_1-2"]
    assert "the mean of 2 snapshots, 1 to 2" in (tmp_path / "out" / "README.md").read_text()


def test_weights_that_changed_since_they_were_scored_are_refused(run: Run) -> None:
    weights = run.dir / load_scores(run.scores("val")).meta.weights
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(FerError, match="changed since it was scored"):
        find_model(run.dir)


@pytest.mark.parametrize("name", ["deploy.prototxt", "weights.caffemodel", "mean.binaryproto"])
def test_a_changed_or_missing_file_is_named(run: Run, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    export_run(run, out, forms=())
    (out / name).write_bytes((out / name).read_bytes()[:-1])
    with pytest.raises(FerError, match=rf"{name} has changed"):
        find_model(out)
    (out / name).unlink()
    with pytest.raises(FerError, match=name):
        find_model(out)


def test_a_model_is_no_run(run: Run, tmp_path: Path) -> None:
    """Whatever takes runs says what it was given; so does predict where model.json is gone."""
    out = run.dir.parent / "exported"
    export_run(run, out, forms=())
    for taken in (Run, open_run):
        with pytest.raises(ExportedModel, match="is an exported model, no run directory"):
            taken(out)
    os.utime(out / "run.json", (4e9, 4e9))
    assert newest_run(out.parent).dir == run.dir
    assert [listed.name for listed in list_runs(out.parent)[0]] == ["small-s1"] and not list_runs(out.parent)[1]
    assert find_model(out).directory == out
    (out / "model.json").unlink()
    with pytest.raises(FerError, match=r"model\.json is gone, fer export makes it again"):
        find_model(out)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": 2}', "\xff"])
def test_a_damaged_model_json_is_named(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(FerError, match=r"model\.json"):
        find_model(tmp_path)


def test_the_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(run.dir)]) == 0
    said = capsys.readouterr().out
    assert f"{run.dir}/export: README.md, deploy.prototxt" in said and "PyTorch" in said and "35 images" in said
    assert cli.main(["export", str(run.dir), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"]["model.onnx"] == file_hash(run.dir / "export" / "model.onnx")
