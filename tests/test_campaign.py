"""scripts/campaign.py with a small training for its long ones: it trains, passes over, resumes, and tells."""

import argparse
import fcntl
import json
import os
from pathlib import Path

import campaign
import pytest


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(campaign, "RUNS", {"one": campaign.Training("lenet", "s2", ("--shuffle",))})
    monkeypatch.setattr(os, "nice", lambda by: 0)
    return tmp_path / "runs"


def states(runs: Path) -> list[tuple[str, int]]:
    return [(info["state"], info["iteration"]) for path in runs.glob("*/run.json")
            for info in [json.loads(path.read_text())]]  # fmt: skip


@pytest.mark.full
def test_a_run_is_trained_then_passed_over(runs: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = ["--data", str(data), "--runs", str(runs)]
    assert campaign.main([*argv, "--max-iter", "2"]) == 0
    assert states(runs) == [("finished", 2)]
    log = (runs / "one" / "train.log").read_bytes()
    capfd.readouterr()
    assert campaign.main(argv) == 0
    assert (runs / "one" / "train.log").read_bytes() == log
    assert "finished" in capfd.readouterr().out
    # A run that was cut is one to resume, at its own options.
    info = json.loads((runs / "one" / "run.json").read_text())
    del info["content_sha256"]  # the edit is meant
    (runs / "one" / "run.json").write_text(json.dumps(info | {"state": "training"}))
    assert campaign.main(["--runs", str(runs), "--status"]) == 0
    assert "training" in capfd.readouterr().out
    options = argparse.Namespace(runs=runs, data=data, max_iter=None)
    assert campaign.command("one", options) == ["train", "--resume", "runs/one", "--engine", "pytorch"]


def test_two_campaigns_do_not_share_a_folder_and_none_is_paused_that_is_not_there(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert campaign.main(["--runs", str(runs), "--pause"]) == 1
    assert "no campaign is at work" in capsys.readouterr().err
    runs.mkdir()
    with (runs / campaign.PID).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert campaign.main(["--runs", str(runs)]) == 1
    assert "at work" in capsys.readouterr().err


def test_what_waits_is_told_and_an_unknown_run_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.main(["--runs", str(runs), "--status"]) == 0
    assert capsys.readouterr().out.split() == ["one", "waiting"]
    with pytest.raises(SystemExit):
        campaign.main(["two"])
    assert "no run 'two'; there are one" in capsys.readouterr().err


def test_every_run_names_a_shipped_net_and_solver() -> None:
    from fer.nets.zoo import find_net, find_solver

    for training in campaign.RUNS.values():
        assert find_net(training.net).is_file() and find_solver(training.net, training.solver).is_file()
