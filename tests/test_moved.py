"""Runs and data that were moved: looked for beside the run, named with --data, guarded by their hashes."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import training
from made_run import make_record

from fer import cli
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.inference.classifier import find_model
from fer.runs.moved import find_files
from fer.runs.opened import scores_can_be_kept
from fer.runs.record import TrainedOn
from fer.runs.run import Run
from fer.runs.unchanged import data_dir

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def project(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as it was made: data/faces and runs/small, stopped on its way and scored."""
    folder = tmp_path_factory.mktemp("first") / "project"
    folder.mkdir()
    shutil.copytree(data, folder / "data" / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "fake", training.fake_engine)
        run = training.train_small(folder, folder / "data" / "faces", max_iter=40)
        score_run(run)
    return folder


@pytest.fixture
def moved(project: Path, tmp_path: Path, fake: None) -> Iterator[Path]:
    """The project elsewhere; at its old place it is gone."""
    hidden = project.with_name("hidden")
    shutil.copytree(project, tmp_path / "new place" / "project")
    project.rename(hidden)
    yield tmp_path / "new place" / "project"
    hidden.rename(project)


def the_run(folder: Path) -> Path:
    return folder / "runs" / "net-solver"


def test_a_project_that_has_moved_works_as_before(
    moved: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    run = Run(the_run(moved))
    assert run.record.data.dir == str(moved / "data" / "faces") and data_dir(run).is_dir()
    assert all(name.startswith(str(moved)) for name in run.record.data.files)
    assert cli.main(["report", str(run.dir)]) == 0
    assert find_model(run.dir).transform.mean is not None
    assert cli.main(["train", "--resume", str(run.dir), "--max-iter", "60"]) == 0, capsys.readouterr().err
    run = Run(run.dir)
    assert run.record.iteration == 60 and run.record.dir == str(run.dir)
    assert str(project) not in run.net.read_text() + (run.dir / "run.json").read_text().split('"command"')[0]
    assert f'source: "{moved}/data/faces/train_lmdb"' in run.net.read_text()
    training.assert_intact(run)


def test_data_that_have_moved_alone_are_named(
    moved: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    shutil.move(moved / "data" / "faces", tmp_path / "faces")
    run, there = str(the_run(moved)), str(tmp_path / "faces")
    for words in (["report", run], ["export", run], ["train", "--resume", run, "--max-iter", "60"]):
        assert cli.main(words) == 1
        assert "are not there\nsay where they are now with --data DIR" in capsys.readouterr().err
    assert cli.main(["report", run, "--data", there]) == 0
    assert cli.main(["train", "--resume", run, "--max-iter", "60", "--data", there]) == 0, capsys.readouterr().err
    assert Run(run).record.data.dir == there  # from now on
    assert cli.main(["report", run]) == 0
    assert cli.main(["report", run, "--data", str(tmp_path / "none")]) == 1
    assert "none: no such data directory" in capsys.readouterr().err


def other_images(folder: Path) -> None:
    path = folder / "train_lmdb" / "data.mdb"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def cut(folder: Path) -> None:
    (folder / "mean.binaryproto").unlink()


@pytest.mark.parametrize("change", [other_images, cut])
def test_other_data_are_refused(moved: Path, capsys: Capture, tmp_path: Path, change: Callable[[Path], None]) -> None:
    shutil.copytree(moved / "data" / "faces", tmp_path / "other")
    change(tmp_path / "other")
    run, other = str(the_run(moved)), str(tmp_path / "other")
    before = {path: path.read_bytes() for path in the_run(moved).iterdir() if path.is_file()}
    for words in (["report", run], ["train", "--resume", run, "--max-iter", "60"]):
        assert cli.main([*words, "--data", other]) == 1
        assert "other" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_where_a_file_is(tmp_path: Path) -> None:
    """At its place as long as it is there; else as seen from the run; below the data directory where it was named."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old / "kept", new / "runs" / "a", new / "data" / "x", tmp_path / "named"):
        folder.mkdir(parents=True)
    record = make_record(data=TrainedOn(str(old / "data" / "x"), {}), dir=str(old / "runs" / "a"))
    move = find_files(record, new / "runs" / "a")
    assert move(str(old / "kept")) == str(old / "kept")
    assert move(str(old / "data" / "x")) == str(new / "data" / "x")
    assert move(str(old / "gone")) == str(old / "gone")
    named = find_files(record, new / "runs" / "a", tmp_path / "named")
    assert named(str(old / "data" / "x" / "mean")) == str(tmp_path / "named" / "mean")
    assert named(str(old / "data" / "xy")) == str(old / "data" / "xy")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kept", [True, False], ids=["scored before", "never scored"])
def test_a_run_that_cannot_be_written_is_reported_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, fake: None, kept: bool
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    shutil.copytree(project, tmp_path / "project")
    run = the_run(tmp_path / "project")
    if not kept:
        shutil.rmtree(run / "scores")
    before = listing(run)
    # The tests may run as root, who may write anywhere.
    monkeypatch.setattr("fer.runs.opened.is_writable", lambda path: not Path(path).is_relative_to(run))
    monkeypatch.setattr("fer.report.files.is_writable", lambda path: not Path(path).is_relative_to(run))
    assert cli.main(["report", str(run)]) == 1
    assert "cannot be written: choose a place for the report with --out DIR" in capsys.readouterr().err
    assert cli.main(["report", str(run), "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "metrics.json").is_file() and listing(run) == before
    with (
        pytest.raises(FerError, match="choose another place with --out DIR"),
        scores_can_be_kept(Run(run), asked=False),
    ):
        pass


def test_a_report_of_val_leaves_the_whole_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, fake: None
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    shutil.copytree(project, tmp_path / "project")
    run = the_run(tmp_path / "project")
    assert cli.main(["report", str(run), "--val-only"]) == 0  # there is no other yet
    assert not (run / "report-val").exists()
    assert cli.main(["report", str(run)]) == 0
    whole = (run / "report" / "metrics.json").read_bytes()
    assert cli.main(["report", str(run), "--val-only"]) == 0
    assert (run / "report" / "metrics.json").read_bytes() == whole and (run / "report-val" / "metrics.json").is_file()
    assert capsys.readouterr().out.count("report-val/report.html") == 1


def test_data_that_runs_were_trained_on_are_not_replaced_unasked(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    folder, csv = Path("data/faces"), project.parent / "other.csv"
    run = Run("runs/net-solver")
    run.update(data=replace(run.record.data, dir=str(folder.resolve()), files={}))
    sample: list[str | Path] = [
        sys.executable,
        training.ROOT / "scripts" / "make_sample.py",
        csv,
        "--train",
        "3",
        "--test",
        "2",
    ]
    subprocess.run(sample, check=True, capture_output=True)
    before = listing(folder)
    assert cli.main(["prepare", str(csv), "--out", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "was made from" in said and "sample.csv" in said
    assert "net-solver was trained on it, and cannot go on or be scored without it; take another --out, or" in said
    assert listing(folder) == before
    assert cli.main(["prepare", str(csv), "--out", str(folder), "--force"]) == 0
    assert cli.main(["prepare", str(csv), "--out", str(folder)]) == 0  # up to date
    assert cli.main(["prepare", str(csv), "--out", str(folder), "--encoded", "--shuffle"]) == 1
    assert "from the same source with other options (encoded, shuffle)" in capsys.readouterr().err
