"""Caffe's log, written and read back, in every dialect."""

import io
import math
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.errors import FerError
from fer.formats import log_lines
from fer.formats.log import parse_log
from fer.formats.log_assembler import LogAssembler
from fer.formats.log_lines import LINES, format_line, read_line
from fer.formats.log_records import LogRecord

GOLDEN = Path(__file__).parent / "golden"
WHEN = datetime(2026, 11, 24, 5, 29, 9, 769240)

counts = st.integers(0, 10**9)
numbers = st.floats(width=32).map(lambda value: float(f"{value:.6g}"))  # six digits, nan and inf among them
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_/.:#-]{0,30}", fullmatch=True)
texts = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_ /.:(),'-]{0,30}[A-Za-z0-9_])?", fullmatch=True)


def outputs(event: type) -> st.SearchStrategy:
    return st.builds(event, counts, names, numbers, st.none() | numbers)


events = st.one_of(
    st.builds(log_lines.Solving, texts),
    st.builds(log_lines.Policy, names),
    st.builds(log_lines.Resuming, names),
    st.builds(log_lines.Testing, counts, counts),
    st.builds(log_lines.TestLoss, numbers),
    st.builds(log_lines.TestScore, counts, numbers),
    st.builds(log_lines.TrainScore, counts, numbers),
    outputs(log_lines.TestOutput),
    outputs(log_lines.TrainOutput),
    st.builds(log_lines.Iteration, counts, numbers),
    st.builds(log_lines.Iteration, counts, numbers, numbers, numbers, counts),
    st.builds(log_lines.Lr, counts, numbers),
    st.builds(log_lines.Step, counts, counts),
    st.builds(log_lines.Snapshotting, names),
    st.builds(log_lines.SnapshottingState, names),
    st.just(log_lines.StoppedEarly()),
    st.just(log_lines.Done()),
    st.builds(log_lines.Fatal, texts),
)


@settings(deadline=None)
@given(events)
def test_what_is_written_is_read_back(event: log_lines.Event) -> None:
    line = format_line(event, WHEN)
    assert "\n" not in line
    assert repr(read_line(line)) == repr(event)  # repr: nan is not equal to itself


def test_every_event_of_the_grammar_is_in_the_round_trip() -> None:
    drawn = {"Solving", "Policy", "Resuming", "Testing", "TestLoss", "TestOutput", "TrainOutput", "Iteration", "Lr"}
    drawn |= {"TestScore", "TrainScore", "Step", "Snapshotting", "SnapshottingState", "StoppedEarly", "Done"}
    assert {line.event.__name__ for line in LINES} == drawn


def test_written_lines_are_caffes_own() -> None:
    """Byte for byte the lines of the wheel's log, header and all."""
    wheel = (GOLDEN / "bvlc_wheel.log").read_text().splitlines()
    known = [(line, event) for line in wheel if (event := read_line(line)) is not None]
    assert len(known) == 34
    for line, event in known:
        stamp = datetime.strptime(line[1:25], "%Y%m%d %H:%M:%S.%f")
        assert format_line(event, stamp, int(line[25:31])) == line


def test_a_writer_writes_lines_at_once() -> None:
    stream = io.StringIO()
    write = log_lines.LogWriter(stream, lambda: WHEN)
    write(log_lines.Lr(20, 1e-05))
    assert stream.getvalue().startswith("I20261124 05:29:09.769240 ")
    assert stream.getvalue().endswith(" sgd_solver.cpp:112] Iteration 20, lr = 1e-05\n")


def test_a_multiline_message_stays_on_one_line() -> None:
    assert read_line(format_line(log_lines.Fatal("one\ntwo"), WHEN)) == log_lines.Fatal("one two")


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    read_line(text)
    LogAssembler().feed(text)
    read_line("I1124 05:29:09.769240  4309 solver.cpp:239] " + text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("nan", math.nan), ("-nan", math.nan), ("inf", math.inf), ("-inf", -math.inf), ("1.#QNAN", math.nan)),
        *(("-1.#IND", math.nan), ("1.#INF", math.inf), ("NaN", math.nan), ("1e-05", 1e-05), (".5", 0.5), ("3.", 3.0)),
    ],
)
def test_numbers_as_cpp_prints_them(text: str, value: float) -> None:
    event = read_line(f"I1124 05:29:09.769240  4309 solver.cpp:239] Iteration 7, loss = {text}")
    assert repr(event) == repr(log_lines.Iteration(7, value))


def test_wheel() -> None:
    log = parse_log(GOLDEN / "bvlc_wheel.log")
    train, test = log.curve("train"), log.curve("test")
    assert [(r.iteration, r.lr, r.loss) for r in train] == [
        (0, 0.01, 1.94984),
        (10, 0.01, 1.98742),
        (20, 0.005, 1.54738),
        (30, 0.0025, 0.97541),
        (40, None, 0.953859),
    ]
    assert [(r.iteration, r.loss, r.outputs) for r in test] == [
        (0, 2.18149, {"accuracy": 0.125, "loss": 2.18149}),
        (20, 1.1536, {"accuracy": 0.5, "loss": 1.1536}),
        (40, 0.792879, {"accuracy": 0.9375, "loss": 0.792879}),
    ]
    assert log.snapshots == ("snapshots/tiny_iter_20.caffemodel", "snapshots/tiny_iter_40.caffemodel")
    assert (log.net_name, log.policy) == ("tiny", "multistep")
    assert log.optimization_done and not log.truncated and log.fatal is None


def test_resumed_log_keeps_both_in_order_and_the_later_one_in_the_curve() -> None:
    log = parse_log(GOLDEN / "resumed.log")
    assert [r.iteration for r in log.records if r.phase == "train"] == [0, 10, 20, 30, 20, 30, 40]
    assert [(r.iteration, r.loss) for r in log.curve("train")][2:] == [(20, 0.929745), (30, 0.73313), (40, 0.647321)]
    assert [r.iteration for r in log.curve("test")] == [0, 20, 40]


def test_what_a_resume_left_behind_is_no_part_of_the_curve() -> None:
    lines = [format_line(log_lines.Iteration(i, 1.0), WHEN) for i in (0, 10, 20, 30, 40, 15, 25)]
    assert [r.iteration for r in parse_log(lines).curve("train")] == [0, 10, 15, 25]


def test_half_a_number_is_not_read() -> None:
    log = parse_log(GOLDEN / "truncated.log")
    assert log.truncated and not log.optimization_done
    assert (log.curve("train")[-1].iteration, log.curve("train")[-1].lr) == (30, None)


def test_2014_has_the_rate_before_the_loss_and_no_train_outputs() -> None:
    log = parse_log(GOLDEN / "bvlc_2014.log")
    assert [(r.iteration, r.lr) for r in log.curve("train")] == [(20, 0.01), (40, 0.01), (60, 0.001)]
    assert [r.loss for r in log.curve("train")][:2] == [6.55607, 6.5]
    assert log.curve("train")[-1].loss == pytest.approx(math.nan, nan_ok=True)
    assert log.snapshots == ("old_train_iter_40",)
    assert log.curve("test")[0].outputs == {"accuracy": 0.14}


def test_new_year_two_test_nets_and_outputs_of_one_name() -> None:
    log = parse_log(GOLDEN / "bvlc_2015_new_year.log")
    seconds = [r.seconds for r in log.records]
    assert seconds == sorted(seconds)
    assert log.curve("train")[0].seconds == pytest.approx(3.0)
    assert log.test_nets() == [0, 1]
    assert log.curve("test", 1)[0].outputs == {"prob": 0.25, "prob#2": 0.75}
    assert log.curve("test")[0].outputs["loss3/top-1"] == 0.3
    assert log.stopped_early and not log.optimization_done


def test_nvcaffe() -> None:
    log = parse_log(GOLDEN / "nvcaffe.log")
    assert [(r.iteration, r.lr, r.loss) for r in log.curve("train")] == [
        (0, 0.0001, 2.39),
        (100, 9.92565e-05, 2.18689),
        (200, 9.8e-05, 1.5),
    ]
    assert log.curve("test")[0].outputs == {"accuracy": 0.0986, "loss": 2.4}
    assert log.optimization_done and log.net_name == "LeNet"


def test_diverged() -> None:
    log = parse_log(GOLDEN / "diverged.log")
    assert log.fatal == "Check failed: a <= b (0 vs. -nan)"
    assert math.isinf(log.curve("train")[1].outputs["loss"])
    assert log.curve("train")[2].loss == pytest.approx(math.nan, nan_ok=True)
    assert math.isnan(log.curve("test")[-1].outputs["loss"])
    assert log.curve("train")[1].seconds == pytest.approx(1.3)


@pytest.mark.parametrize("name", ["bvlc_wheel", "bvlc_2014", "nvcaffe", "diverged"])
def test_line_ends_and_utf16_change_nothing(name: str, tmp_path: Path) -> None:
    text = (GOLDEN / f"{name}.log").read_text()
    windows, powershell = tmp_path / "crlf.log", tmp_path / "utf16.log"
    windows.write_bytes(text.replace("\n", "\r\n").encode())
    powershell.write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    expected = repr(parse_log(GOLDEN / f"{name}.log"))
    assert repr(parse_log(windows)) == expected == repr(parse_log(powershell))


def test_lines_of_other_programs_may_stand_in_front() -> None:
    line = "caffe_1  | I1124 05:29:09.769240  4309 solver.cpp:239] Iteration 7, loss = 2"
    assert read_line(line) == log_lines.Iteration(7, 2.0)


def short(day: str, iteration: int) -> str:
    return f"I{day} 12:00:00.000000     1 solver.cpp:239] Iteration {iteration}, loss = 1"


@pytest.mark.parametrize(
    ("days", "elapsed"),
    [
        (("0228", "0301"), [0, 1]),
        (("0228", "0229", "0301"), [0, 1, 2]),
        (("1231", "0101"), [0, 1]),
        (("0301", "0228"), [0, 0]),  # a clock set back: time stands still
        (("1231", "0229", "0301"), [0, 60, 61]),
    ],
)
def test_short_dates(days: tuple[str, ...], elapsed: list[int]) -> None:
    log = parse_log([short(day, i) for i, day in enumerate(days)])
    assert [record.seconds / 86400 for record in log.records] == elapsed


def test_days_that_do_not_exist_are_no_log_lines() -> None:
    assert [r.iteration for r in parse_log([short("1301", 0), short("1231", 1), short("0000", 2)]).records] == [1]


def test_a_run_can_be_followed() -> None:
    def said(*events: log_lines.Event) -> list[object]:
        return [item for event in events for item in assembler.feed(format_line(event, WHEN))]

    assembler = LogAssembler()
    assert assembler.feed("Using 1 GPU") == []
    assert said(log_lines.Testing(20), log_lines.TestOutput(0, "accuracy", 0.5), log_lines.TestLoss(2.0)) == []
    test = LogRecord(20, "test", 0.0, loss=2.0, outputs={"accuracy": 0.5})
    assert said(log_lines.Iteration(20, 1.0), log_lines.TrainOutput(0, "loss", 3.0)) == [test]
    step = log_lines.Step(20, 1)
    train = LogRecord(20, "train", 0.0, lr=0.1, loss=1.0, outputs={"loss": 3.0})
    assert said(step, log_lines.Lr(20, 0.1)) == [step, train]
    saving = log_lines.SnapshottingState("net_iter_30.solverstate")
    last = LogRecord(30, "train", 0.0, loss=0.5)
    assert said(log_lines.Iteration(30, 0.5), saving, log_lines.Testing(30)) == [last, saving]
    assert assembler.finish() == [LogRecord(30, "test", 0.0)] and assembler.finish() == []
    assert [record.iteration for record in assembler.log().records] == [20, 20, 30, 30]


def test_a_rate_said_by_each_gpu_counts_once_and_outputs_behind_it_count() -> None:
    events = (log_lines.Iteration(5, 2.0), *[log_lines.Lr(5, 0.1)] * 2, log_lines.TrainOutput(0, "loss", 3.0))
    lines = [format_line(event, WHEN) for event in (*events, log_lines.Iteration(6, 1.0))]
    assert parse_log(lines).curve("train")[0] == LogRecord(5, "train", 0.0, lr=0.1, loss=2.0, outputs={"loss": 3.0})
    assert len(parse_log(lines).records) == 2


def test_outputs_without_their_iteration_are_left_out() -> None:
    lines = ["I1124 05:29:09.769240  4309 solver.cpp:414]     Test net output #0: accuracy = 0.5", short("1124", 0)]
    assert [r.phase for r in parse_log(lines).records] == ["train"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"epoch 1: loss 2.0\n", "is no Caffe training log: looked for"), (b"\0\xff\n", "is no Caffe")],
)
def test_what_is_no_log_is_said_to_be_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_bytes(content)
    with pytest.raises(FerError, match=message):
        parse_log(path)


def test_a_missing_log_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="cannot read the log"):
        parse_log(tmp_path / "nowhere.log")
    with pytest.raises(FerError, match="cannot read the log"):
        parse_log(tmp_path)
