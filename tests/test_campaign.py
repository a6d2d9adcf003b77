"""scripts/campaign.py with a small training for its long ones: it trains, passes over, resumes, and tells."""

import argparse
import fcntl
import json
import os
import shlex
from pathlib import Path

import campaign
import pytest

from fer import cli

EVERY = dict(campaign.RUNS)


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

    for training in EVERY.values():
        if training.before:  # which make the net
            assert Path(training.solver).is_file()
        else:
            assert find_net(training.net).is_file() and find_solver(training.net, training.solver).is_file()


def test_the_words_of_every_run_are_those_of_fer(runs: Path) -> None:
    options = argparse.Namespace(runs=runs, data=runs, max_iter=7)
    for name, training in EVERY.items():
        campaign.RUNS[name] = training
        for words in [*map(shlex.split, training.before), campaign.command(name, options)]:
            assert cli._parse(words).command == words[0]


def test_what_comes_before_a_run_is_done_first_and_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    codes: list[int] = []
    training = campaign.Training("mine/train_val.prototxt", "mine/solver.prototxt", before=("nets lenet --copy 'm 1'",))
    monkeypatch.setattr(campaign, "RUNS", {"two": training})

    def run_fer(words: list[str], folder: Path) -> int:
        assert folder == runs.parent
        ran.append(words[:4])
        return codes.pop(0)

    monkeypatch.setattr(campaign, "run_fer", run_fer)
    options = argparse.Namespace(runs=runs, data=runs, max_iter=None)
    first, then = ["nets", "lenet", "--copy", "m 1"], ["train", "--net", "mine/train_val.prototxt", "--solver"]
    for answers, code, expected in (([1], 1, [first]), ([0, 3], 3, [first, then])):
        ran.clear()
        codes[:] = answers
        assert campaign.train("two", options) == code
        assert ran == expected
    ran.clear()
    codes[:] = [0]
    monkeypatch.setattr(campaign, "state", lambda run: "interrupted")
    assert campaign.train("two", options) == 0
    assert ran == [["train", "--resume", "runs/two", "--engine"]]
