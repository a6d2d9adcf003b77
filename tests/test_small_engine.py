"""An engine that is added to the registry trains, goes on and scores like those that are there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import small_engine
import training

from fer.cli import main
from fer.engines.registry import ENGINES
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.runs.run import Run


def test_it_trains_goes_on_and_scores(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENGINES, "fake", small_engine.make)
    monkeypatch.chdir(tmp_path)
    net, solver = training.write_net(tmp_path)
    words = ["--net", str(net), "--solver", str(solver), "--data", str(data), "--name", "run", "--max-iter", "30"]
    assert main(["train", *words, "--engine", "fake", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["state"], record["engine"], record["versions"]["fake"]) == ("finished", "fake", {"fake": "1"})
    assert main(["train", "--resume", "runs/run", "--max-iter", "50"]) == 0
    # No test falls on the end, so that it was scored: a seventh of the images is of each class.
    assert re.search(r"50 iterations .* in .*\n14\.29% on PublicTest", capsys.readouterr().out)
    run = Run("runs/run")
    assert [snapshot.iteration for snapshot in run.snapshots()] == [20, 30, 40, 50]
    score_run(run, snapshot=50, val_only=True)
    assert np.all(load_scores(run.scores("val")).probs.argmax(axis=1) == 50 % 7)


def test_it_is_forty_lines() -> None:
    lines = Path(small_engine.__file__).read_text().partition("log = ")[2].splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40
