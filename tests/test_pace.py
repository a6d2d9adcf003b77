"""Where a training stands between its displays, and how long it will take: with a clock of the test's own."""

import re
from pathlib import Path

import pytest
import training

from fer.commands import terminal
from fer.commands.display import TrainingDisplay
from fer.engines.caffe import ipc
from fer.engines.measured import TIMES_CAFFE, TIMES_CAFFE_ON_A_GPU
from fer.training import events, pace
from fer.training.pace import Pace, quicker_engine

ROOT = Path(__file__).resolve().parent.parent


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A training of 1,000 iterations that displays each hundredth and tests each 250th; its odometer is turned by
    hand."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.clock, self.told = Clock(), list[object]()
        monkeypatch.setenv(ipc.ODOMETER, str(folder / "iteration"))
        self.pace = Pace(folder / "iteration", self.told.append, 0, 1000, 100, 250, 40.0, self.clock)
        self.odometer = ipc.Odometer()

    def at(self, iteration: int, now: float) -> None:
        self.clock.now = now
        self.odometer.show(iteration)
        self.pace.look()

    def of(self, kind: type) -> list[object]:
        return [event for event in self.told if isinstance(event, kind)]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def test_it_moves_between_the_displays(watched: Watched) -> None:
    watched.pace.look()
    assert watched.told == []
    for iteration, now in ((1, 5.0), (1, 5.1), (2, 5.5), (7, 8.0)):
        watched.at(iteration, now)
    assert watched.told == [events.Moved(iteration, 1000) for iteration in (1, 2, 7)]
    watched.pace.close()
    assert ipc.read_odometer(watched.pace.odometer) is None and not watched.pace.odometer.exists()


def test_the_time_it_will_take(watched: Watched) -> None:
    watched.pace.feed("I1126 12:00:00.0  1 solver.cpp:330] Iteration 0, Testing net (#0)")
    watched.clock.now = 10.0
    watched.pace.feed("I1126 12:00:00.0  1 solver.cpp:397]     Test net output #0: accuracy = 0.1")
    watched.at(1, 30.0)  # what came before the first iteration is no part of it
    watched.at(20, 68.0)
    assert watched.of(events.Estimate) == []
    watched.at(21, 70.0)
    watched.at(40, 99.0)
    (estimate,) = watched.of(events.Estimate)
    # 979 iterations of 2 s and the tests at 250, 500, 750 and 1000, of 10 s each
    assert estimate == events.Estimate(979 * 2.0 + 4 * 10.0, 2.0, 80.0)


def test_slow_iterations_are_timed_by_fewer(watched: Watched) -> None:
    watched.at(1, 10.0)
    watched.at(3, 50.0)
    assert watched.of(events.Estimate) == []
    watched.at(4, 70.0)
    assert watched.of(events.Estimate) == [events.Estimate(996 * 20.0, 20.0, 800.0)]


def test_tests_in_between_are_no_iterations(watched: Watched) -> None:
    watched.at(1, 10.0)
    watched.clock.now = 20.0
    watched.pace.feed("Iteration 250, Testing net (#0)")
    watched.clock.now = 100.0
    watched.pace.feed("    Test net output #0: accuracy = 0.1")
    watched.at(21, 110.0)
    (estimate,) = watched.of(events.Estimate)
    assert isinstance(estimate, events.Estimate) and estimate.seconds_per_iteration == 1.0


def test_without_an_odometer_the_clock_goes_on_but_not_past_the_next_display(tmp_path: Path) -> None:
    clock, told = Clock(), list[object]()
    watch = Pace(tmp_path / "none", told.append, 0, 1000, 100, 0, 0.0, clock)
    watch.displayed(0)
    for iteration, now in ((100, 50.0), (200, 100.0)):
        clock.now = now
        watch.displayed(iteration)
    assert [event for event in told if isinstance(event, events.Estimate)] == [events.Estimate(800 * 0.5, 0.5, None)]
    for now in (101.0, 110.0, 500.0):
        clock.now = now
        watch.look()
    assert [event.iteration for event in told if isinstance(event, events.Moved)] == [202, 220, 299]


def test_an_odometer_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ipc.ODOMETER, str(tmp_path / "no" / "such" / "folder"))
    ipc.Odometer().show(3)
    monkeypatch.delenv(ipc.ODOMETER)
    ipc.Odometer().show(3)
    (tmp_path / "empty").write_text("")
    assert ipc.read_odometer(tmp_path / "empty") is None


def test_what_is_quicker_is_said_once_it_saves_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "native_bf16", lambda: False)
    caffe, torch = training.fake_pycaffe(), training.fake_pytorch()
    hint = quicker_engine(caffe, on_gpu=False, seconds=7200)
    assert hint and "--engine pytorch took 45% for LeNet and 40% for AlexNet of real Caffe's time" in hint.text
    monkeypatch.setattr(pace, "native_bf16", lambda: True)
    hint = quicker_engine(caffe, on_gpu=False, seconds=7200)
    assert hint and "--precision auto took 32% for LeNet and 23% for AlexNet" in hint.text
    assert quicker_engine(caffe, on_gpu=False, seconds=600) is None
    assert quicker_engine(caffe, on_gpu=True, seconds=7200) is None
    assert quicker_engine(torch, on_gpu=False, seconds=7200) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert quicker_engine(caffe, on_gpu=False, seconds=7200) is None


def test_the_measured_ratios_are_those_of_the_readme() -> None:
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) s\d, (\w+) \|.*?\| ([\d.]+) \| [\d.]+ \| \d+% \|$", text, re.M)
    assert rows
    assert {(net, precision, float(times)) for net, precision, times in rows} == {
        (net, precision, times) for precision, each in TIMES_CAFFE.items() for net, times in each.items()
    }
    on_a_gpu = re.findall(r"^\| (\w+) s\d \| [\d,]+ \| [\d,]+ \| ([\d.]+) \|", text, re.M)
    assert {net: float(times) for net, times in on_a_gpu} == TIMES_CAFFE_ON_A_GPU


def test_the_display_moves_and_tells_the_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PLAIN_LINE_SECONDS", 0.0)
    with TrainingDisplay() as display:
        display(events.Displayed(0, 400, 1.5, 0.01, None))
        display(events.Estimate(7500.0, 0.75, 337.0))
        display(events.Moved(7, 400))
        display(events.Displayed(5, 400, 1.25, 0.01, None))  # the log is behind
        display(events.SnapshotSaved(400, Path("snapshot")))
        display(events.Moved(400, 400))
    said = capsys.readouterr().err.splitlines()
    assert any(
        re.fullmatch(r"about 2 h 05 min to go, until .*: 0.75 s an iteration, 5 min 37 s an epoch", s) for s in said
    )
    shown = [re.findall(r"train: (\d+)/400 iter", line) for line in said]
    assert [int(each[0]) for each in shown if each] == [0, 7, 7, 400]


@pytest.mark.full
@pytest.mark.parametrize("engine", ["caffe", "pytorch"])
def test_a_real_engine_turns_its_odometer(engine: str, tmp_path: Path, data: Path) -> None:
    told: list[object] = []
    net, solver = training.write_net(tmp_path, display=50, test_interval=60, max_iter=60)
    run = training.train(net, solver, data, engine=engine, seed=1, runs_dir=tmp_path / "runs", progress=told.append)
    moved = [event.iteration for event in told if isinstance(event, events.Moved)]
    assert moved == sorted(set(moved)) and set(moved) - {0, 50, 60}
    assert not run.odometer.exists()
