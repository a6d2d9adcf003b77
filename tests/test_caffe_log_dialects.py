"""Logs as people have them: dialects, several GPUs and trainings in one file, copies from consoles, encodings."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path

import pytest

from fer.errors import FerError
from fer.formats import log_lines
from fer.formats.log import parse_log
from fer.formats.log_lines import format_line, read_line
from fer.formats.log_records import Log

GOLDEN = Path(__file__).parent / "golden"
WHEN = datetime(2026, 11, 24, 5, 29, 9, 769240)
Row = tuple[int, float | None, float | None]


def losses(log: Log) -> list[Row]:
    return [(r.iteration, r.lr, r.loss) for r in log.curve("train")]


def by_test(log: Log) -> list[tuple[int, dict[str, float]]]:
    return [(r.iteration, r.outputs) for r in log.curve("test")]


@pytest.mark.parametrize(
    ("name", "trained", "tested"),
    [
        ("nvcaffe_two_gpus", [(0, 0.01, 2.7), (79, 0.01, 0.35), (158, 0.01, 0.14)], []),
        (  # rates of the others before, between and behind the root's; the last called 200 by its loss, 199 by its rate
            "nvcaffe_four_gpus",
            [(0, 0.01, 2.7), (100, 0.01, 0.35), (200, 0.001, 0.14)],
            [(0, {"accuracy": 0.1, "loss": 2.7}), (200, {"accuracy": 0.9, "loss": 0.2})],
        ),
        (
            "bvlc_march_2014",
            [(100, 0.001, 1.7), (600, 0.001, 1.1)],
            [(500, {"score#0": 0.55, "score#1": 1.28}), (1000, {"score#0": 0.75, "score#1": 0.74})],
        ),
        (
            "wrapped_80",
            [(0, 0.01, 0.87678), (1000, 0.01, 0.547078)],
            [(0, {"accuracy": 0.5124, "loss": 0.808089}), (1000, {"accuracy": 0.7644, "loss": 0.59192})],
        ),
        ("two_trainings", [(0, 0.001, 3), (500, 0.001, 2)], [(0, {"accuracy": 0.2}), (500, {"accuracy": 0.3})]),
        (
            "resumed_behind_another",
            [(0, 0.01, 2), (500, 0.01, 1)],
            [(0, {"accuracy": 0.1}), (500, {"accuracy": 0.6})],
        ),
    ],
)
def test_dialects(name: str, trained: list[Row], tested: list[tuple[int, dict[str, float]]]) -> None:
    log = parse_log(GOLDEN / f"{name}.log")
    assert losses(log) == trained and by_test(log) == tested
    assert [bool(other.records) for other in log.others] == [True] * name.startswith(("two_tr", "resumed_b"))


def test_nvcaffe_says_the_policy_with_the_net() -> None:
    log = parse_log(GOLDEN / "nvcaffe_four_gpus.log")
    assert (log.net_name, log.policy, log.optimization_done) == ("LeNet", "step", True)


def test_two_trainings_are_told_apart() -> None:
    log = parse_log(GOLDEN / "two_trainings.log")
    (first,) = log.others
    assert (first.net_name, log.net_name, log.seconds) == ("first", "second", 11.0)
    assert by_test(first)[-1] == (1000, {"accuracy": 0.6})
    assert log.curve("train")[0].seconds == pytest.approx(0.3)
    again = parse_log(GOLDEN / "resumed_behind_another.log")
    assert (again.net_name, again.resumed) == ("first", ("a/one_iter_500.solverstate",))
    assert not again.optimization_done and again.others[0].optimization_done


def said(*events: log_lines.Event, thread: int = 1, second: int = 0) -> list[str]:
    """Lines, each a microsecond behind the one before."""
    return [format_line(event, WHEN.replace(second=second, microsecond=i), thread) for i, event in enumerate(events)]


def a_training(last: int = 20, first: int = 0, **where: int) -> list[str]:
    shown = [
        (log_lines.Iteration(i, 2.0 - i / 100), log_lines.TrainOutput(0, "loss", 2.0, 1.0), log_lines.Lr(i, 0.1))
        for i in range(first, last + 1, 10)
    ]
    return said(*(event for each in shown for event in each), **where)


@pytest.mark.parametrize(
    ("lines", "iterations", "others"),
    [
        # No line says that it was resumed: but nobody begins in the middle.
        ([*a_training(), *said(log_lines.Solving("")), *a_training(40, 20, second=1)], [0, 10, 20, 30, 40], 0),
        ([*a_training(), *a_training(40, 20, thread=2, second=1)], [0, 10, 20, 30, 40], 0),
        ([*a_training(), *a_training(40, 30, thread=2, second=1)], [0, 10, 20, 30, 40], 0),
        # Nor that it began anew.
        ([*a_training(), *a_training(10, thread=2, second=1)], [0, 10], 1),
        ([*a_training(), *a_training(10, second=1)], [0, 10], 1),
        ([*a_training(second=1), *a_training(10, second=2), *a_training(0, second=3)], [0], 2),
        # A state that this log's training did not write.
        (
            [
                *a_training(),
                *said(
                    log_lines.SnapshottingState("a_iter_20.solverstate"), log_lines.Resuming("b_iter_90.solverstate")
                ),
                *a_training(100, 90, second=1),
            ],
            [90, 100],
            1,
        ),
        # Two at once, in one file; and one that says everything twice.
        ([line for two in zip(a_training(), a_training(thread=2), strict=True) for line in two], [0, 10, 20], 1),
        ([line for line in a_training() for _ in range(2)], [0, 10, 20], 0),
        (a_training() * 2, [0, 10, 20], 0),
        ([*a_training()[:5], *a_training()[:5], *a_training()[5:], *a_training()[5:]], [0, 10, 20], 0),
    ],
)
def test_where_a_training_begins(lines: list[str], iterations: list[int], others: int) -> None:
    log = parse_log(lines)
    assert [(r.iteration, r.loss, r.outputs) for r in log.curve("train")] == [
        (i, 2.0 - i / 100, {"loss": 2.0}) for i in iterations
    ]
    assert len(log.others) == others


def test_a_log_of_tests_or_of_rates_alone() -> None:
    lines = said(*(e for i in (0, 50) for e in (log_lines.Testing(i), log_lines.TestOutput(0, "accuracy", 0.5))))
    assert by_test(parse_log(lines)) == [(0, {"accuracy": 0.5}), (50, {"accuracy": 0.5})]
    assert losses(parse_log(said(log_lines.Lr(0, 0.1), log_lines.Lr(10, 0.01)))) == [(0, 0.1, None), (10, 0.01, None)]


def wrapped(text: str, width: int) -> bytes:
    """As a console wraps lines, and leaves out the spaces at their ends."""
    pieces = (line[at : at + width] for line in text.split("\n") for at in range(0, max(len(line), 1), width))
    return "\n".join(piece.rstrip() for piece in pieces).encode()


POWERSHELL = """
At line:1 char:1
+ .\\caffe.exe train --solver=solver.prototxt 2> train.log
+ ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    + CategoryInfo          : NotSpecified: (I0820 17:58:59....cpp:272] Solving :String) [], RemoteException
    + FullyQualifiedErrorId : NativeCommandError
 
"""  # noqa: W293


def each_line(before: str, behind: str) -> Callable[[str], bytes]:
    return lambda text: "".join(f"{before}{line}{behind}\n" for line in text.splitlines()).encode()


def as_docker_keeps_it(text: str) -> bytes:
    said = ({"log": line + "\n", "stream": "stderr"} for line in text.splitlines())
    return "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in said).encode()


def in_a_notebook(text: str) -> bytes:
    lines = text.splitlines(keepends=True)
    outputs = [{"name": "stderr", "output_type": "stream", "text": part} for part in (lines[:7], "".join(lines[7:]))]
    code = {"cell_type": "code", "source": ["!caffe train\n", lines[0]], "outputs": outputs}
    return json.dumps({"cells": [{"cell_type": "markdown", "source": lines}, code], "nbformat": 4}).encode()


def as_old_notebooks(text: str) -> bytes:
    cell = {"cell_type": "code", "input": ["!caffe"], "outputs": [{"text": text.splitlines(keepends=True)}]}
    return json.dumps({"nbformat": 3, "worksheets": [{"cells": [cell]}]}, indent=1).encode()


def in_a_page(before: str, behind: str, *, space: str = " ") -> Callable[[str], bytes]:
    def page(text: str) -> bytes:
        lines = "".join(f"{before}{escape(line).replace(' ', space)}{behind}" for line in text.splitlines())
        seen = f"<h1>Log</h1><script>if (1 < 2) '{text[:500]}'</script><pre>{lines}</pre>"
        return f"<!DOCTYPE html>\n<html><head><title>log</title></head><body>{seen}</body></html>".encode()

    return page


COPIES: dict[str, Callable[[str], bytes]] = {
    **{name: partial(str.encode, encoding=name) for name in ("utf-16-le", "utf-16-be", "utf-8-sig", "utf-32")},
    "crcrlf": lambda text: text.replace("\n", "\r\r\n").encode(),
    "powershell": lambda text: ("caffe.exe : " + text.replace("\n", POWERSHELL, 1)).encode("utf-16"),
    "appended": lambda text: text[:500].encode() + text[500:].encode("utf-16-le"),
    "colours": each_line("\x1b[0;32m", "\x1b[m"),
    "shown colours": each_line("^[[32m", "^[[0m"),
    "docker": each_line("2026-11-24T05:29:09.7Z ", ""),
    "docker's json": as_docker_keeps_it,
    "json lines": lambda text: "".join(json.dumps({"t": 1, "msg": line}) + "\n" for line in text.splitlines()).encode(),
    "a list in json": lambda text: json.dumps({"lines": text.splitlines()}).encode(),
    "an indented list": lambda text: json.dumps(
        [{"at": 1, "message": line} for line in text.splitlines()], indent=1
    ).encode(),
    "one string": lambda text: json.dumps({"name": "job 7", "log": text}).encode("utf-16"),
    "a csv": each_line('2026-11-24T05:29:09Z,"', '",stderr'),
    "a notebook": in_a_notebook,
    "a notebook of format 3": as_old_notebooks,
    "a page": in_a_page("", "\n"),
    "a page's table": in_a_page("<tr><td class='n'>1</td><td><b>", "</b></td></tr>"),
    "a page's breaks": in_a_page("<span style='color:red'>", "</span><br/>", space="&nbsp;"),
    "mpirun": each_line("[1,0]<stderr>:", ""),
    "a crashed disk": lambda text: b"\0" * 4999 + text.encode(),
    "twice": lambda text: "".join(2 * line for line in text.splitlines(keepends=True)).encode(),
    **{f"wrapped at {width}": partial(wrapped, width=width) for width in (60, 79, 80, 100)},
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("name", ["bvlc_wheel", "nvcaffe"])
def test_copies(name: str, copy: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.log"
    path.write_bytes(COPIES[copy]((GOLDEN / f"{name}.log").read_text()))
    log = parse_log(path)
    assert repr(replace(log, wrapped=0)) == repr(parse_log(GOLDEN / f"{name}.log"))
    assert bool(log.wrapped) == copy.startswith("wrapped")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (in_a_notebook(GOLDEN.joinpath("nvcaffe.log").read_text()).decode()[:-100], r"JSON that is damaged or cut off"),
        ('{"a": ' * 10**5, r"JSON that is nested too deep"),
        (json.dumps({"cells": [], "nbformat": 4}), r"a notebook whose cells show no output"),
        ("<html><body>Not found</body></html>", r"no Caffe training log"),
    ],
    ids=["cut", "deep", "empty notebook", "another page"],
)
def test_documents_without_a_log(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "document").write_text(text)
    with pytest.raises(FerError, match=message):
        parse_log(tmp_path / "document")


def test_lines_wrapped_between_words(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text(
        "I1124 05:29:09.769240  4309 solver.cpp:239] Iteration 0 (0 iter/s, 0.003s/10 iters),\nloss = 0.5\n"
        "I1124 05:29:09.769241  4309 solver.cpp:258]     Train net output #0: loss = 0.5\n(* 1 = 0.5 loss)\n"
        "I1124 05:29:09.769242  4309 sgd_solver.cpp:112] Iteration 0, lr =\n0.01\n"
    )
    (record,) = parse_log(tmp_path / "mail.log").records
    assert (record.loss, record.lr, record.outputs, record.weights) == (0.5, 0.01, {"loss": 0.5}, {"loss": 1.0})


def test_what_a_program_prints_between_is_no_part_of_a_line() -> None:
    lines = [f"{line}\n7\n" for line in a_training()]
    log = parse_log([piece for line in lines for piece in line.splitlines(keepends=True)])
    assert losses(log) == losses(parse_log(a_training())) and not log.wrapped


def test_lines_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.log").write_text(
        "".join(f"{line[:80]}\n" for line in (GOLDEN / "bvlc_wheel.log").read_text().splitlines())
    )
    with pytest.raises(FerError, match=r"its lines are cut off at 80 columns, in the middle of numbers"):
        parse_log(tmp_path / "cut.log")


def test_half_a_line_that_another_runs_into_is_not_believed() -> None:
    killed = "I1124 05:29:09.769240  4309 solver.cpp:414]     Test net output #0: accuracy = 0.9"
    lines = said(log_lines.Testing(0), log_lines.TestOutput(0, "accuracy", 0.125))
    (record,) = parse_log([lines[0], killed + lines[1]]).records
    assert record.outputs == {"accuracy": 0.125}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "I1124 05:29:09.769240  1 caffe.cpp:281] Running for 2 iterations.\n"
            "I1124 05:29:09.769240  1 caffe.cpp:304] Batch 0, accuracy = 0.5\n"
            "I1124 05:29:09.769240  1 caffe.cpp:309] Loss: 1.2\n"
            "I1124 05:29:09.769240  1 caffe.cpp:321] accuracy = 0.75\n"
            "I1124 05:29:09.769240  1 caffe.cpp:321] loss = 1.2 (* 1 = 1.2 loss)\n",
            r"log of `caffe test`, not of a training; its means: Loss: 1.2, accuracy = 0.75, loss = 1.2",
        ),
        ("I1124 05:29:09.769240  1 caffe.cpp:365] *** Benchmark begins ***\n", r"is a log of `caffe time`"),
    ],
)
def test_logs_of_other_commands(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text(text)
    with pytest.raises(FerError, match=message):
        parse_log(tmp_path / "other.log")


@pytest.mark.parametrize(
    "line",
    [
        f"Iteration {'9' * 5000}, loss = 1",
        f"Iteration 5 {'(' * 2000}{') , loss = 1' * 2000}",
        f"Solving {' ' * 2**22}x",
        f"    Test net output #0: {'a = 1 ' * 2**18}",
        "Iteration 5, Testing net (#99999999999)",
        "\udcff\ud800 Iteration 5, loss = x",
        "\x1b]0;" * 2**12,
    ],
    ids=["long number", "brackets", "spaces", "long name", "long net", "surrogates", "titles"],
)
def test_hostile_lines_say_nothing(line: str) -> None:
    header = "I1124 05:29:09.769240  4309 solver.cpp:239] "
    assert not isinstance(read_line(header + line), log_lines.Iteration | log_lines.Testing | log_lines.TestOutput)
    assert losses(parse_log([header + line, *a_training()])) == losses(parse_log(a_training()))


def test_a_line_without_end_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text("x" * 2**22 + "\n" + "".join(f"{line}\n" for line in a_training()) + "y" * 2**20)
    assert losses(parse_log(path)) == losses(parse_log(a_training())) and parse_log(path).truncated


def test_a_million_values_take_no_square(tmp_path: Path) -> None:
    """Names that repeat are numbered without a search: at once, where a search would take hours."""
    count = 30_000
    outputs = [log_lines.TrainOutput(i, "label", float(i), None) for i in range(count)]
    (record,) = parse_log(said(log_lines.Iteration(0, 1.5), *outputs, log_lines.Lr(0, 0.1))).records
    assert len(record.outputs) == count and record.outputs[f"label#{count}"] == count - 1
