"""fer report --ensemble: several runs as one net."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import make_run

from fer.cli import main
from fer.errors import FerError
from fer.evaluation.scores import load_scores
from fer.report.build import build_ensemble
from fer.report.results import EnsembleResult
from fer.report.text import summary_text
from fer.runs.run import Run
from fer.system.records import read_record

NAMES = ("lenet-s1", "lenet-s2", "try")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered."""
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")


def make_runs(folder: Path, names: tuple[str, ...] = NAMES, **options: Any) -> list[Run]:
    """Runs whose nets err independently, the second the best on val."""
    return [make_run(folder, name, skill=skill, **options) for name, skill in zip(names, (1.5, 1.7, 1.6), strict=False)]


def test_it_is_reported_like_one_run_with_its_members(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    result = build_ensemble(runs)
    out = tmp_path / "runs" / "ensemble-lenet-s1-lenet-s2-try"
    assert result.report == str(out) and result.kind == "ensemble"
    assert result == read_record(out / "metrics.json", EnsembleResult)
    for split in ("val", "test"):
        scores = [load_scores(run.scores(split)) for run in runs]
        right = int((np.mean([each.probs for each in scores], axis=0).argmax(axis=1) == scores[0].labels).sum())
        mine = result.splits[split]
        assert mine.correct == right > max(int(each.correct.sum()) for each in scores)
        assert mine.ten_crop is None and sum(map(sum, mine.confusion)) == 210
        figures = {f"figures/{name}_{split}.svg" for name in ("confusion", "roc", "classes")}
        assert {*figures, f"scores_{split}.csv"} <= set(result.files)
    assert [member.name for member in result.members] == ["LeNet s1", "LeNet s2", "try"]
    accuracies = [member.splits["val"].accuracy for member in result.members]
    assert accuracies[1] == max(accuracies)
    (pair,) = result.mcnemar
    assert (pair.a, pair.b, pair.split) == ("the ensemble", "LeNet s2", "val")
    assert pair.only_a is not None and pair.only_b is not None
    assert pair.only_a - pair.only_b == result.splits["val"].correct - round(210 * accuracies[1])
    text, page = summary_text(result), (out / "report.html").read_text()
    for each in (text, page):
        assert "Ensemble of LeNet s1, LeNet s2, try" in each and "the ensemble against LeNet s2" in each
        assert f"{100 * result.splits['test'].accuracy:.2f}%" in each
    assert page.count("<img ") == len([name for name in result.files if name.endswith(".svg")])
    assert not re.search(r"""src=["'](?!data:)""", page)


@pytest.mark.full
def test_over_ten_crops_where_all_were_scored_so(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, NAMES[:2], ten_crop=True)
    result = build_ensemble(runs)
    crops = [load_scores(run.scores("test", ten_crop=True)) for run in runs]
    right = (crops[0].probs + crops[1].probs).argmax(axis=1) == crops[0].labels
    ten_crop = result.splits["test"].ten_crop
    assert ten_crop is not None and ten_crop.correct == int(right.sum())
    runs.append(make_run(tmp_path, "try"))
    result = build_ensemble(runs)
    assert result.splits["test"].ten_crop is None
    assert any("Not over ten crops, as try was not scored so" in note for note in result.notes)


def test_what_is_no_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = make_runs(tmp_path / "one", NAMES[:2])
    other = make_run(tmp_path / "two", "try", counts={"train": 9, "val": 150, "test": 150})
    for given, message in (
        (runs[:1], "two runs or more"),
        ([runs[0], Run(runs[0].dir)], "given twice"),
        ([*runs, other], "no ensemble of LeNet s1, LeNet s2, try: not of the same images: 60 files"),
    ):
        with pytest.raises(FerError, match=message):
            build_ensemble(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert main(["report", "--ensemble", str(runs[0].dir)]) == 2
    assert "two runs or more" in capsys.readouterr().err
