"""The sentence at the top of a report and at the end of a training."""

from dataclasses import replace
from pathlib import Path

import made_run
import pytest

from fer.report.build import build_ensemble, build_report, report_log
from fer.report.curves import Series
from fer.report.results import McNemarResult, SplitResult
from fer.report.text import summary_text
from fer.report.verdict import Trend, best_of, ensemble_verdict, measured_on_val, run_verdict, trend
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot, SnapshotScore
from fer.system.plural import counted
from fer.system.records import write_record
from fer.system.shell import command

FAKE_FIGURE = lambda figure, kind: b"a picture"  # noqa: E731


def series(*values: float) -> Series:
    return Series.of([(100 * number, value) for number, value in enumerate(values)])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.14, 0.30, 0.36, 0.40, 0.44), Trend.RISING),
        ((0.14, 0.50, 0.57, 0.574, 0.571, 0.575), Trend.LEVEL),
        ((0.14, 0.50, 0.57, 0.56, 0.55, 0.54), Trend.FALLING),
        ((0.14, 0.2), Trend.UNKNOWN),
        ((0.14, 0.2, 0.3), Trend.UNKNOWN),  # the untrained net's is none
        ((0.14, float("nan"), 0.4, 0.5, 0.6), Trend.RISING),
        ((), Trend.UNKNOWN),
    ],
)
def test_the_trend(values: tuple[float, ...], expected: Trend) -> None:
    assert trend(series(*values)) == expected


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made_run.make_run(tmp_path, iterations=400, gamma=1.0)


def scored(run: Run, *values: float) -> Series:
    entries = {str(100 * i): SnapshotScore(value, 1.5, "ab", "of none") for i, value in enumerate(values)}
    write_record(run.scores_by_snapshot, ScoresBySnapshot(entries))
    (run.dir / "train.log").write_text(made_run.log_text([]))
    return series(*values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.14, 0.30, 0.36, 0.44), "44.00% on PublicTest (val) with iteration 300, still rising: go on with fer train"),
        ((0.14, 0.50, 0.57, 0.574), "57.40% on PublicTest (val) with iteration 300, no longer rising"),
        ((0.14, 0.57, 0.50, 0.50), "57.00% on PublicTest (val) with iteration 100, falling since: more iterations"),
        ((0.14, 0.25, 0.25, 0.253), "nothing was learnt (try another --lr)"),
    ],
)
def test_what_a_run_has_come_to(run: Run, values: tuple[float, ...], words: str) -> None:
    found = run_verdict(run, best_of(series(*values)), series(*values), baseline=0.25)
    assert words in found
    assert ("--resume" in found) == ("rising: go on" in words)
    if "--resume" in found:
        assert found.endswith(f"{command('fer', 'train', '--resume', run.dir)} --max-iter 800")


def test_an_untrained_net_is_not_the_best() -> None:
    """Unless no other was tested."""
    points = [(0, 0.3), (10, float("nan")), (20, 0.2), (30, 0.2)]
    found = best_of(Series.of(points))
    assert found is not None and (found.at, found.accuracy) == (20, 0.2)
    alone = best_of(Series.of(points[:2]))
    assert alone is not None and (alone.at, alone.accuracy) == (0, 0.3)
    assert best_of(Series.of(points[1:2])) is None and best_of(Series.of([])) is None


@pytest.mark.parametrize(("number", "said"), [(0, "0 images"), (1, "1 image"), (3589, "3,589 images")])
def test_things_are_counted(number: int, said: str) -> None:
    assert counted(number, "image") == said and counted(2, "batch") == "2 batches"


def test_what_an_unfinished_run_has_come_to(run: Run) -> None:
    run.update(state="interrupted", iteration=120)
    found = run_verdict(run, best_of(series(0.14, 0.5)), series(0.14, 0.5))
    assert "so far (interrupted at 120 of 400): go on with" in found and found.endswith(str(run.dir))
    fallen = series(0.14, 0.57, 0.25, 0.25, 0.25)
    assert "falling since: more iterations do not help" in run_verdict(run, best_of(fallen), fallen)
    assert "No accuracy on PublicTest (val) was measured" in run_verdict(run, None, series())


def test_a_schedule_at_its_end_is_not_gone_on_with(run: Run) -> None:
    text = run.solver.read_text()
    run.solver.write_text(text.replace("gamma: 1.0", "gamma: 0.01").replace("stepsize: 200", "stepsize: 150"))
    found = run_verdict(run, best_of(series(0.1, 0.3, 0.4, 0.5)), series(0.1, 0.3, 0.4, 0.5))
    assert "the learning rate has run down" in found and "--resume" not in found


def test_exact_scores_stand_before_the_logs(run: Run) -> None:
    from fer.formats.log import parse_log
    from fer.report.curves import make_curves

    curves = make_curves(parse_log(run.log))
    found = measured_on_val(run, curves)
    at = dict(zip(found.iterations.tolist(), found.values.tolist(), strict=True))
    logged = dict(zip(curves.accuracy.iterations.tolist(), curves.accuracy.values.tolist(), strict=True))
    assert at[200] == 0.5 != logged[200] and at[0] == logged[0]


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Two that chance may tell apart, and one that is far worse."""
    monkeypatch.setattr("fer.report.build.render", FAKE_FIGURE)
    return [
        made_run.make_run(tmp_path, f"lenet-{name}", skill=skill)
        for name, skill in (("a", 1.7), ("b", 1.75), ("c", 0.2))
    ]


def test_a_comparison_says_what_is_more_than_chance(three: list[Run]) -> None:
    result = build_report(three)
    accuracies = {each.name: each.splits["val"].accuracy for each in result.runs}  # type: ignore[union-attr]
    best = max(accuracies, key=lambda name: accuracies[name])
    (other,) = {"LeNet a", "LeNet b"} - {best}
    assert result.verdict.startswith(f"Best on PublicTest (val): {best} with {100 * accuracies[best]:.2f}%")
    assert f"no more than chance may give for {other} (p = " in result.verdict
    assert "each of 2 comparisons has its share of 5%" in result.verdict
    assert summary_text(result).splitlines()[1] == result.verdict
    assert result.verdict in (three[0].dir.parent / "compare-lenet-a-lenet-b-lenet-c" / "report.html").read_text()
    pair = build_report([three[0], three[2]])
    assert "above LeNet c: more than chance (p < 0.0001)." in pair.verdict


def test_an_ensemble_that_is_worse_is_called_so(three: list[Run]) -> None:
    result = build_ensemble([three[0], three[2]])
    alone = result.members[0].splits["val"].accuracy
    assert result.splits["val"].accuracy < alone
    assert result.verdict.startswith("The ensemble is worse than LeNet a alone (")
    assert result.verdict.endswith(": take LeNet a.")


@pytest.mark.parametrize(
    ("together", "p", "words"),
    [
        (0.60, 0.001, "better than x, the best of its members, by more than chance"),
        (0.581, 0.4, "better than x, but by no more than chance may give"),
        (0.58, 1.0, "no better than x alone"),
        (
            0.55,
            0.4,
            "worse than x alone (55.00% against 58.00% on PublicTest (val), p = 0.4000, which chance may give)",
        ),
    ],
)
def test_an_ensemble_against_its_best(together: float, p: float, words: str, three: list[Run]) -> None:
    (split, *_) = build_report(three[:1]).splits.values()  # type: ignore[union-attr]
    assert isinstance(split, SplitResult)
    pair = McNemarResult(a="the ensemble", b="x", split="val", p_value=p)
    assert words in ensemble_verdict({"val": replace(split, accuracy=together)}, "x", 0.58, pair)


def test_a_log_alone(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fer.report.build.render", FAKE_FIGURE)
    result = report_log(run.log, tmp_path / "out")
    assert "% on the test net at iteration 400, still rising." in result.verdict


@pytest.mark.parametrize("width", [40, 80])
def test_a_summary_is_no_wider_than_the_terminal(width: int, three: list[Run]) -> None:
    for result in (build_report(three[:1]), build_report(three), build_ensemble(three)):
        lines = summary_text(result, width).splitlines()
        wide = [line for line in lines if len(line) > width and not line.startswith("Report: ")]
        assert [line for line in wide if " " in line.strip()] == []  # a path has no place to break
