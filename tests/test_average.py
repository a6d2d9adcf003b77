"""fer average: which snapshots, where the mean is kept, and that it takes part in the choice on val."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import training
from made_report import report_of
from training import resume, train

from fer import cli
from fer.engines.core.log import Log
from fer.engines.core.verbs import caffe_test
from fer.engines.pytorch.backend import Backend
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.report.text import summary_text
from fer.runs.record import Average, HashedFile
from fer.runs.run import Run
from fer.runs.snapshots import SnapshotFault
from fer.system.hashes import file_hash
from fer.training.average_run import average_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """A run of the fake engine with snapshots 10, 20, ... 60."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "fake", training.fake_engine)
        patch.delenv("FAKE_FAULT", raising=False)
        return training.train_small(tmp_path_factory.mktemp("trained"), data, snapshot=10)


@pytest.fixture
def run(tmp_path: Path, trained: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    monkeypatch.setitem(ENGINES, "pytorch", training.fake_pytorch)
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    monkeypatch.delenv("FAKE_FAULT", raising=False)
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    return Run(shutil.copytree(trained.dir, tmp_path / "run"))


@pytest.mark.parametrize(
    ("which", "averaged"),
    [
        ({}, [20, 30, 40, 50, 60]),
        ({"last": 2}, [50, 60]),
        ({"last": 9}, [10, 20, 30, 40, 50, 60]),
        ({"first": 40}, [40, 50, 60]),
    ],
)
def test_the_last_snapshots_or_those_from_an_iteration_on(
    tmp_path: Path, run: Run, which: dict[str, Any], averaged: list[int]
) -> None:
    made = average_run(run, **which)
    name = f"average_{averaged[0]}-60"
    assert made.weights == run.dir / "snapshots" / f"net_{name}.caffemodel" and made.name == name
    argv = json.loads((tmp_path / "argv").read_text().splitlines()[-1])
    files = [f"snapshots/net_iter_{iteration}.caffemodel" for iteration in averaged]
    assert argv[argv.index("--weights") + 1].split(",") == files
    run = Run(run.dir)
    entry = HashedFile(file_hash(made.weights), str(made.weights.relative_to(run.dir)))
    assert run.record.averages == {name: Average(tuple(averaged), entry, 3)}
    assert run.averages() == [made] and [s.iteration for s in run.snapshots()] == [10, 20, 30, 40, 50, 60]
    training.assert_intact(run)


@pytest.mark.full
def test_fewer_snapshots_than_were_asked_for_are_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["average", str(run.dir), "--last", "9"]) == 0
    assert "has 6 snapshots, fewer than the 9 asked for: all were taken" in capsys.readouterr().out
    assert cli.main(["average", str(run.dir), "--last", "3"]) == 0
    assert "asked for" not in capsys.readouterr().out
    assert cli.main(["average", str(run.dir), "--last", "3", "--batches", "4"]) == 2
    assert "has no BatchNorm layer" in capsys.readouterr().err


def test_it_takes_part_in_the_choice_on_val(run: Run) -> None:
    average_run(run, last=2)
    average_run(run)
    score_run(run)
    assert load_scores(run.scores("val")).meta.iteration == 10  # all alike: the earliest
    stored = json.loads(run.scores_by_snapshot.read_text())
    known = stored["snapshots"]
    assert list(known) == ["10", "20", "30", "40", "50", "60", "average_20-60", "average_50-60"]
    del stored["content_sha256"]
    known["average_20-60"]["accuracy"] = 0.9  # as if it had been the best
    run.scores_by_snapshot.write_text(json.dumps(stored))
    score_run(run)
    for split in ("val", "test"):
        meta = load_scores(run.scores(split)).meta
        assert meta.weights == "snapshots/net_average_20-60.caffemodel" and meta.averaged == (20, 30, 40, 50, 60)
    result = report_of(run)
    assert result.snapshot.averaged == (20, 30, 40, 50, 60) and result.snapshot.chosen_on == "val"
    assert "mean of 5 snapshots, 20 to 60 of 60 iterations, chosen on PublicTest" in summary_text(result)
    score_run(run, snapshot="average_50-60")
    assert report_of(run).snapshot.chosen_on is None
    with pytest.raises(FerError, match=r"no snapshot average_1-2; it has 10, .*60, average_20-60, average_50-60"):
        score_run(run, snapshot="average_1-2")


def test_a_longer_training_keeps_it(run: Run) -> None:
    made = average_run(run)
    again = resume(run.dir, max_iter=80)
    assert again.averages() == [made] and again.snapshots()[-1].iteration == 80
    score_run(again)


def swap(run: Run) -> None:
    run.weights_file(50).write_bytes(run.weights_file(40).read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("break_it", "which", "message"),
    [
        (None, {"first": 60}, "needs two snapshots or more, and this would be of 1; .* has 10, 20, 30, 40, 50, 60"),
        (None, {"first": 61}, "would be of 0"),
        (swap, {}, "net_iter_50.caffemodel changed since it was verified"),
    ],
)
def test_what_cannot_be_averaged(
    run: Run, break_it: Callable[[Run], None] | None, which: dict[str, Any], message: str
) -> None:
    if break_it:
        break_it(run)
    with pytest.raises(FerError, match=message):
        average_run(run, **which)
    assert not Run(run.dir).averages()


def test_a_mean_that_is_not_finite_is_no_snapshot(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "nan-average")
    with pytest.raises(SnapshotFault, match="nan or inf"):
        average_run(run)
    assert not Run(run.dir).averages() and not list((run.dir / "snapshots").rglob("*average*"))


def test_not_while_it_is_trained(run: Run) -> None:
    with run.locked(), pytest.raises(FerError, match="is being trained"):
        average_run(Run(run.dir))


NORMALISED = training.NET.replace(
    'layer { name: "relu"', 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "relu"'
)


@pytest.mark.full
def test_a_net_with_batch_norm(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, net=NORMALISED, base_lr=0.02)
    run = train(net, solver, data, engine="pytorch", seed=1, runs_dir=tmp_path / "runs")
    made = average_run(run, last=2)
    assert Run(run.dir).record.averages[made.name].batches == 5  # 70 images in batches of 16
    files = [run.weights_file(40), run.weights_file(60), made.weights]
    losses = [caffe_test.test(Backend(), run.net, str(file), 5, log=Log(silent=True))["loss"] for file in files]
    assert losses[2] < min(losses[:2])
