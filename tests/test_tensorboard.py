"""Event files, read back with TensorBoard's own reader."""

import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import training
from made_run import make_run

from fer.cli import main
from fer.errors import FerError
from fer.evaluation.event_file import RunEvents
from fer.report.tensorboard import write_tensorboard

pytest.importorskip("tensorboardX")
pytest.importorskip("tensorboard")
# TensorBoard then reads without TensorFlow, whose import takes a good while.
sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("notf"))


def read(folder: Path) -> Any:
    """What TensorBoard has in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 4)) for event in read(folder).Scalars(tag)]


def hparams(folder: Path) -> dict[str, Any]:
    """The hyper-parameters as the plugin of that name reads them."""
    from tensorboard.plugins.hparams import metadata

    found = read(folder).summary_metadata
    content = found[metadata.SESSION_START_INFO_TAG].plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: value.string_value or value.number_value for name, value in values.items()}


def steps(values: Iterable[tuple[int, float]]) -> list[int]:
    return [step for step, _ in values]


@pytest.mark.usefixtures("fake")
def test_a_training_that_went_on_is_one_curve(tmp_path: Path, data: Path) -> None:
    board = tmp_path / "board"
    run = training.train_small(tmp_path, data, tensorboard=board)
    (folder,) = board.iterdir()
    assert folder.name == run.name
    assert steps(points(folder, "train/loss")) == list(range(0, 61, 5))
    run.weights_file(60).write_bytes(b"damaged")  # it goes on from 40, and the log goes back
    training.resume(run.dir, tensorboard=board, max_iter=80)
    assert len(list(folder.iterdir())) == 1
    for tag in ("train/loss", "train/learning rate"):
        there = steps(points(folder, tag))
        assert there == sorted(set(there)) and {0, 35, 40, 45, 60, 75} <= set(there)
    assert steps(points(folder, "val/accuracy")) == [0, 20, 40, 60]
    assert hparams(folder)["base_lr"] == pytest.approx(0.01)
    assert hparams(folder)["engine"] == "fake"


def test_a_report_adds_pictures_and_final_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path), make_run(tmp_path, "alexnet-s3", skill=1.0)]
    write_tensorboard(runs, tmp_path / "board", val_only=True)
    write_tensorboard(runs[:1], tmp_path / "board")
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == ["alexnet-s3", "lenet-s2"]
    folder = tmp_path / "board" / "lenet-s2"
    assert len(list(folder.iterdir())) == 1
    tags = read(folder).Tags()
    assert {"confusion val", "confusion test", "mistakes val"} <= set(tags["images"])
    (image,) = read(folder).Images("confusion val")
    assert image.encoded_image_string.startswith(b"\x89PNG") and image.width > 500 and image.step == 200
    assert {"scored val/accuracy", "scored test/log loss", "train/loss", "val/accuracy", "val/loss"} <= set(
        tags["scalars"]
    )
    assert steps(points(folder, "scored val/accuracy of snapshots")) == [100, 200, 300, 400]
    assert "scored test/accuracy" not in read(tmp_path / "board" / "alexnet-s3").Tags()["scalars"]


def test_another_run_of_the_same_name_keeps_its_file(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with RunEvents(tmp_path / "board", run) as events:
        events.begin(run, [])
    again = make_run(tmp_path / "elsewhere")
    again.update(started="2030-01-01T00:00:00+00:00")
    with RunEvents(tmp_path / "board", again) as events:
        assert events.folder.name == "lenet-s2-2"
    with RunEvents(tmp_path / "board", run) as events:
        assert events.folder.name == "lenet-s2"
    assert len(list((tmp_path / "board").rglob("*.tfevents.*"))) == 2


def test_what_is_missing_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = make_run(tmp_path)
    assert main(["report", str(run.dir), "--tensorboard", str(tmp_path / "board")]) == 1
    assert "pip install tensorboardX" in capsys.readouterr().err
    assert not run.report_dir.exists()
    with pytest.raises(FerError, match="tensorboardX"):
        training.train("lenet", "s2", tmp_path / "data", tensorboard=tmp_path / "board", runs_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_be_written_any_more_stops_no_training(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, fake: None
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunEvents, "add", fail)
    told: list[Any] = []
    run = training.train_small(tmp_path, data, tensorboard=tmp_path / "board", progress=told.append)
    assert run.record.state == "finished"
    assert sum("No space left" in str(event) for event in told) == 1


def test_a_place_that_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path, data: Path, fake: None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FerError, match=r"cannot write .*file"):
        training.train_small(tmp_path, data, tensorboard=tmp_path / "file")
    assert not (tmp_path / "runs").exists()
    run = training.train_small(tmp_path, data)
    before = (run.dir / "run.json").read_bytes()
    with pytest.raises(FerError, match=r"cannot write .*file"):
        training.resume(run.dir, max_iter=100, tensorboard=tmp_path / "file")
    assert (run.dir / "run.json").read_bytes() == before


def test_of_a_run_that_cannot_be_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    monkeypatch.setattr("fer.commands.report._score", lambda runs, args: None)  # its scores are there
    monkeypatch.setattr("fer.runs.opened.is_writable", lambda path: False)
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    argv = ["report", str(run.dir), "--out", str(tmp_path / "out"), "--tensorboard", str(tmp_path / "board")]
    assert main(argv) == 0
    assert any((tmp_path / "board").rglob("*tfevents*"))
