"""fer train --patience: ended by its own tests on val, the best one's snapshot kept, never by PrivateTest."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import training
from made_report import report_of
from training import assert_intact, assert_nothing_left, resume
from training import train_small as start

from fer.cli import main
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.formats.log import parse_log
from fer.formats.prototxt import read_solver
from fer.runs.run import Run
from fer.training.early_stopping import EarlyStopping


@pytest.fixture(autouse=True)
def accuracies(monkeypatch: pytest.MonkeyPatch, fake: None) -> None:
    """Tests each 20 iterations: best at 40, the last of three worse ones at 100."""
    monkeypatch.setenv("FAKE_ACCURACIES", "0.1,0.3,0.5,0.4,0.5,0.2,0.6,0.3")


def iterations(run: Run) -> list[int]:
    return [snapshot.iteration for snapshot in run.snapshots()]


@pytest.mark.parametrize("seconds", ["0", "0.01"], ids=["ended before it was told", "told to stop"])
def test_it_ends_and_keeps_the_best_test_s_snapshot(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", seconds)
    run = start(tmp_path, data, patience=3, max_iter=200, snapshot=70)
    info = json.loads((run.dir / "run.json").read_text())
    assert (info["state"], info["iteration"], info["patience"], info["max_iter"]) == ("finished", 100, 3, 200)
    assert info["ended"] == "val accuracy has not risen for 3 tests, since iteration 40"
    # The best test's, the solver's own, the last test's; none of after the end, whatever the engine still wrote.
    assert iterations(run) == [40, 70, 100]
    assert_intact(run)
    assert read_solver(run.solver).snapshot == 70
    assert parse_log(run.log).stopped_early == (seconds != "0")


def test_without_patience_it_trains_on(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, max_iter=200, snapshot=100)
    assert (run.record.ended, run.record.iteration, iterations(run)) == ("max_iter was reached", 200, [100, 200])


def test_a_test_that_is_better_than_all_before_is_waited_for(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, patience=4, max_iter=160, snapshot=0)
    assert run.record.ended == "max_iter was reached" and iterations(run) == [120, 140, 160]


def test_the_command_ends_well_and_says_why(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net, solver = training.write_net(tmp_path, max_iter=200)
    words = ["train", "--net", str(net), "--solver", str(solver), "--data", str(data), "--name", "run"]
    monkeypatch.setitem(ENGINES, "caffe", training.fake_pycaffe)
    assert main([*words, "--engine", "caffe", "--patience", "3"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"100 iterations \(22.9 epochs\) in \d+ s; val accuracy", said)
    assert "50.00% on PublicTest (val) with iteration 40" in said
    assert "val accuracy has not risen for 3 tests, since iteration 40" in said
    assert main(["train", "--resume", "runs/run"]) == 1


def test_it_goes_on_where_it_waits_longer_and_remembers(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, patience=3, max_iter=400, snapshot=0)
    refused: tuple[dict[str, Any], ...] = ({}, {"patience": 2}, {"max_iter": 300})
    for options in refused:
        with pytest.raises(FerError, match=r"(?s)not risen for 3 tests, since iteration 40.*--patience N, N larger"):
            resume(run.dir, **options)
    run = resume(run.dir, patience=5)  # the test at 100 is made again, and counts once; 120 is the best
    assert run.record.ended == "val accuracy has not risen for 5 tests, since iteration 120"
    assert run.record.iteration == 220 and iterations(run) == [120, 220] and run.record.patience == 5
    assert_intact(run)
    run = resume(run.dir, patience=0)
    assert run.record.ended == "max_iter was reached" and run.record.patience is None
    assert iterations(run) == [120, 220, 400]


@pytest.mark.full
def test_stopped_by_a_signal_and_resumed_it_still_counts(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.write_net(tmp_path, max_iter=400, snapshot=0)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.02")
    log = tmp_path / "runs" / "run" / "train.log"
    training.wait_for(lambda: log.exists() and "Iteration 65 " in log.read_text(), process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    run = Run(tmp_path / "runs" / "run")
    assert (run.record.state, run.record.ended) == ("interrupted", "stopped by SIGINT")
    (saved,) = iterations(run)
    assert 65 <= saved < 100
    run = resume(run.dir, patience=3)
    assert run.record.ended == "val accuracy has not risen for 3 tests, since iteration 40"
    assert run.record.iteration == 100 and iterations(run) == [saved, 100]  # 40 had no snapshot then


def test_a_fault_is_told_in_run_json(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for fault, ended in (("nan", "loss is nan at iteration 10"), ("killed", "Fake was killed (SIGKILL)")):
        monkeypatch.setenv("FAKE_FAULT", fault)
        with pytest.raises(FerError):
            start(tmp_path, data, name=fault, patience=3)
        told = Run(tmp_path / "runs" / fault).record.ended
        assert told is not None and told.startswith(ended)


@pytest.mark.full
def test_the_report_chooses_on_val_and_says_why_it_ended(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    run = start(tmp_path, data, patience=3, max_iter=200, snapshot=0)
    score_run(run)
    result = report_of(run)
    assert result.snapshot.iteration == 40
    assert f"The run ended early: {run.record.ended}." in result.notes and result.run["patience"] == 3


PRIVATE = {
    "a copy of it": 'type: "Data" data_param { source: "copy" backend: LMDB batch_size: 7 }',
    "its list": 'type: "ImageData" image_data_param { source: "DATA/test.txt" root_folder: "DATA/test/" is_color: 0 }',
}


@pytest.mark.parametrize("source", PRIVATE.values(), ids=PRIVATE)
def test_private_test_decides_nothing(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data / "test_lmdb", tmp_path / "copy")
    val = 'type: "Data" top: "data" top: "label" include { phase: TEST }'
    lines = training.NET.splitlines()
    at = next(i for i, line in enumerate(lines) if val in line)
    lines[at : at + 3] = ['layer { name: "data" top: "data" top: "label" include { phase: TEST }', CROP, source, "}"]
    monkeypatch.setattr(training, "NET", "\n".join(lines).replace("DATA", str(data)))
    net, solver = training.write_net(tmp_path, net=training.NET)
    with pytest.raises(FerError, match=r"(?s)the images of PrivateTest.*take val_lmdb"):
        training.train(net, solver, data, patience=3, engine="fake", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


CROP = 'transform_param { scale: 0.00390625 crop_size: 44 mean_file: "mean.binaryproto" }'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("test_iter: 5\ntest_interval: 20\n", ""), "needs tests on val"),
        (('layer { name: "accuracy" type: "Accuracy"', 'layer { name: "score" type: "SoftmaxWithLoss"'), "an Accuracy"),
    ],
)
def test_without_a_test_there_is_nothing_to_wait_for(
    tmp_path: Path, data: Path, change: tuple[str, str], message: str
) -> None:
    net, solver = training.write_net(tmp_path)
    for path in (net, solver):
        path.write_text(path.read_text().replace(*change))
    with pytest.raises(FerError, match=message):
        training.train(net, solver, data, patience=3, engine="fake", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


def test_snapshots_that_would_fall_between_all_tests_are_refused(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, snapshot=23)
    with pytest.raises(FerError, match="make snapshot a multiple of test_interval"):
        training.train(net, solver, data, patience=3, engine="fake", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


def test_the_rule() -> None:
    patience = EarlyStopping(2, "accuracy", own_interval=500, test_interval=200)
    assert (patience.best, patience.over, patience.interval) == (None, False, 100)
    for iteration, accuracy in ((0, 0.2), (200, 0.4), (400, 0.4)):
        patience.take(iteration, {"accuracy": accuracy})
    assert (patience.best, patience.since, patience.over) == (200, 1, False)
    patience.take(400, {"accuracy": 0.4})  # again, after a resume
    patience.take(600, {"loss": 1.0})
    assert patience.since == 1
    patience.take(600, {"accuracy": float("nan")})
    assert patience.over and patience.since == 2
    # 450 and 512 were asked for by a signal: neither is of the tests' interval.
    assert patience.spare([100, 200, 300, 400, 450, 500, 512, 600]) == [100, 300, 400]
    assert patience.spare([]) == [] and patience.spare([100]) == []
