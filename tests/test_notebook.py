"""What notebooks use: fer.open_run and fer.parse_log; and a report's table as Markdown, LaTeX and CSV."""

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_report import report_of
from made_run import make_run

import fer
from fer.cli import main
from fer.data.classes import CLASSES
from fer.errors import FerError
from fer.evaluation.scores import load_scores
from fer.formats.log import parse_log
from fer.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs lenet-s1 and lenet-s2 of made_run, reported, and a log."""
    folder = tmp_path_factory.mktemp("notebook")
    runs = [make_run(folder, name, skill=skill) for name, skill in (("lenet-s1", 0.3), ("lenet-s2", 1.7))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
        report_of(runs[1])
    shutil.copy(ROOT / "tests" / "golden" / "bvlc_wheel.log", folder / "caffe.log")
    return folder


def test_the_readmes_lines_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"## In a notebook\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(home)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    exec(code, names)
    plt.close("all")  # the README's plot
    assert len(names["scores"]) == 210


def test_curves_are_what_the_log_shows(home: Path) -> None:
    run = fer.open_run(home / "runs" / "lenet-s2")
    curves = run.curves
    assert list(curves) == ["iteration", "lr", "loss", "val accuracy", "val loss"]
    assert curves.iteration.tolist() == list(range(0, 401, 20))
    log = parse_log(home / "runs" / "lenet-s2" / "train.log")
    tests = curves.dropna(subset="val accuracy").set_index("iteration")
    assert tests["val accuracy"].to_dict() == {r.iteration: r.outputs["accuracy"] for r in log.curve("test")}
    shown = curves.dropna(subset="lr").set_index("iteration")
    assert shown.lr.to_dict() == {r.iteration: r.lr for r in log.curve("train") if r.lr is not None}
    by_log = fer.parse_log(home / "runs" / "lenet-s2" / "train.log")
    pd.testing.assert_frame_equal(by_log, curves)


def test_scores_are_those_of_the_file(home: Path) -> None:
    frame = fer.open_run(home / "runs" / "lenet-s2").scores("test")
    scores = load_scores(home / "runs" / "lenet-s2" / "scores" / "test.npz")
    assert list(frame) == ["file", "label", "prediction", *CLASSES]
    assert (frame[list(CLASSES)].to_numpy() == scores.probs).all() and (frame.label == scores.labels).all()


def test_a_run_that_is_not_reported_says_so(home: Path) -> None:
    with pytest.raises(FerError, match=r"metrics\.json is missing: fer report .*lenet-s1 writes it"):
        _ = fer.open_run(home / "runs" / "lenet-s1").metrics
    with pytest.raises(FerError, match="no run directory"):
        fer.open_run(home)
    with pytest.raises(AttributeError, match="no attribute 'open_ran'"):
        _ = fer.open_ran


def test_fer_is_imported_without_pandas() -> None:
    code = "import sys, fer.cli; assert not {'pandas', 'jinja2', 'msgspec', 'matplotlib'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def tables(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What `fer report --format` prints of the two runs."""
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
    monkeypatch.setattr("fer.evaluation.score.score_run", lambda run, **options: [])
    runs = [str(home / "runs" / name) for name in ("lenet-s1", "lenet-s2")]

    def printed(kind: str) -> str:
        assert main(["report", *runs, "--out", str(home / "compared"), "--format", kind]) == 0
        return capsys.readouterr().out

    return printed


def test_the_table_as_markdown(tables: Callable[[str], str]) -> None:
    header, rule, *rows = tables("markdown").splitlines()
    assert header.startswith("| run | PublicTest (val) | 95% interval | PrivateTest (test) |")
    assert rule.startswith("| --- | ---: | ---: |") and len(rows) == 2
    assert re.fullmatch(
        r"\| LeNet s1, centre crop( \| [\d.]+% \| [\d.]+–[\d.]+%){2} \| 400 \| 200 \| 1 h 02 min \|", rows[0]
    )


def test_the_table_as_latex(tables: Callable[[str], str]) -> None:
    text = tables("latex")
    assert text.startswith("\\begin{tabular}{lrrrrrrr}\n\\toprule\n") and "95\\% interval" in text
    assert re.search(r"LeNet s2, centre crop & [\d.]+\\% & [\d.]+--[\d.]+\\% &", text)


def test_the_table_as_csv(tables: Callable[[str], str], home: Path) -> None:
    table = pd.read_csv(io.StringIO(tables("csv")))
    assert list(table)[:4] == ["run", "PublicTest (val)", "PublicTest (val) low", "PublicTest (val) high"]
    scores = load_scores(Run(home / "runs" / "lenet-s2").scores("val"))
    assert table["PublicTest (val)"][1] == np.mean(scores.correct)


def test_a_log_alone_has_no_such_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--log", str(home / "caffe.log"), "--format", "csv"]) == 2
    assert "--format" in capsys.readouterr().err
