"""A run directory that an earlier fer wrote (commit ff887a7, the fake engine) is read, reported and gone on with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import training
from made_report import report_of

import fer
from fer.cli import main
from fer.errors import FerError
from fer.evaluation.scores import load_scores
from fer.runs.run import Run
from fer.runs.scores import InTraining, ScoresBySnapshot
from fer.system.hashes import file_hash
from fer.system.records import read_record

OLD = Path(__file__).parent / "golden" / "old_run"


@pytest.fixture
def old(tmp_path: Path, data: Path, fake: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, beside the data of today's tests instead of its own."""
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    run = shutil.copytree(OLD, tmp_path / "net-solver")
    for path in (run / "train_val.prototxt", run / "run.json"):
        path.write_text(path.read_text().replace("/old-home/data", str(data)))
    info = json.loads((run / "run.json").read_text())
    info["prototxt_sha256"]["train_val.prototxt"] = file_hash(run / "train_val.prototxt")
    info["data"]["files"] = {name: file_hash(Path(name)) for name in info["data"]["files"]}
    (run / "run.json").write_text(json.dumps(info))
    return run


def test_it_is_read(old: Path) -> None:
    run = Run(old)
    assert (run.record.state, run.record.iteration, run.record.format) == ("finished", 40, 1)
    assert [snapshot.name for snapshot in (*run.snapshots(), *run.averages())] == ["20", "40", "average_20-40"]
    assert list(read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots) == ["20", "40", "average_20-40"]
    assert read_record(run.in_training, InTraining).val == ()
    assert load_scores(run.scores("val")).meta.iteration == 20
    assert fer.open_run(old).metrics.splits["val"].count == 35


def test_it_is_reported_and_scored_again(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fer.open_run(old).metrics
    after = report_of(Run(old))
    kept = {split: replace(each, calibration=None, labels_in_doubt=None) for split, each in after.splits.items()}
    assert kept == before.splits and after.snapshot == before.snapshot
    assert main(["report", str(old)]) == 0
    assert "snapshot 20 of 40 iterations" in capsys.readouterr().out


def test_it_is_gone_on_with(old: Path) -> None:
    run = training.resume(old, max_iter=60)
    assert [snapshot.iteration for snapshot in run.snapshots()] == [20, 40, 60]
    training.assert_intact(run)
    assert json.loads((old / "run.json").read_text())["format"] == 1


def spoilt(old: Path, file: str, change: dict[str, object]) -> None:
    path = old / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("run.json", {"format": 99}, "run.json: format 99, which a newer fer wrote; this one reads up to 1"),
        ("run.json", {"iteration": "40"}, "run.json: damaged: iteration: expected `int`, got `str`"),
        ("run.json", {"data": {"dir": "d"}}, "run.json: damaged: the field data.files is missing"),
        ("run.json", {"snapshots": {"last": {}}}, "run.json: damaged: "),
        ("run.json", {"state": "asleep"}, "run.json: damaged: state: "),
        ("run.json", {"state": "\ud800"}, "run.json: damaged: "),
        ("run.json", {"seconds": 1e400}, "run.json: damaged: seconds: "),
        ("run.json", {"iteration": 10**30}, "run.json: damaged: iteration: "),
        ("run.json", {"averages": {"a": {"averaged": [], "weights": {"sha256": ""}}}}, "averages[...].averaged: "),
        (
            "run.json",
            {"averages": {"a": {"averaged": [1, 2], "weights": {"sha256": ""}}}},
            "run.json: damaged: averages.a: is of average_1-2",
        ),
        ("scores/val_by_snapshot.json", {"format": 99}, "val_by_snapshot.json: format 99"),
        ("scores/in_training.json", {"format": 99}, "in_training.json: format 99"),
    ],
)
def test_what_is_damaged_or_newer_is_named(
    old: Path, file: str, change: dict[str, object], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt(old, file, change)
    assert main(["report", str(old)]) == 1
    assert expected in capsys.readouterr().err


def test_newer_scores_are_named_and_left_alone(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = old / "scores" / "val.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays | {"meta": json.dumps(json.loads(str(arrays["meta"])) | {"format": 99})})
    before = path.read_bytes()
    assert main(["report", str(old)]) == 1
    assert "val.npz: meta: format 99" in capsys.readouterr().err and path.read_bytes() == before


def test_what_is_damaged_of_the_scores_is_made_anew(old: Path) -> None:
    for file in ("scores/val_by_snapshot.json", "scores/in_training.json"):
        (old / file).write_text("{")
    assert main(["report", str(old)]) == 0
    assert list(read_record(Run(old).scores_by_snapshot, ScoresBySnapshot).snapshots) == ["20", "40", "average_20-40"]


def test_what_others_put_into_run_json_stays(old: Path) -> None:
    spoilt(old, "run.json", {"remark": "the one of the paper"})
    Run(old).update(seconds=2.0)
    assert json.loads((old / "run.json").read_text())["remark"] == "the one of the paper"


def test_damaged_metrics_are_named(old: Path) -> None:
    spoilt(old, "report/metrics.json", {"splits": {"val": 1}})
    with pytest.raises(FerError, match=r"metrics\.json: damaged: splits"):
        _ = fer.open_run(old).metrics
