"""Caffe's training log as records and curves; the lines themselves are written and read by ``fer.formats.log_lines``.

log = parse_log("train.log")                 # BVLC old and new, NVCaffe, resumed, truncated, wrapped, with nan
log.curve("test")[-1].outputs["accuracy"]
"""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fer.errors import FerError
from fer.formats.log_assembler import LogAssembler
from fer.formats.log_lines import Done, Fatal, StoppedEarly, read_line, said_in
from fer.formats.log_records import Log
from fer.formats.log_text import clean, file_lines, line_width, unwrap

_SHOWN = 6
_BATCH = re.compile(r"Batch [0-9]+, ")
_MEAN = re.compile(r"\S+ = \S+|Loss: \S+")


def parse_log(source: str | os.PathLike[str] | Iterable[str]) -> Log:
    """Reads a log file, or lines. Of several trainings in one log, the one that began last; see `Log.others`.

    A last line without its end is cut off and may hold half a number: it counts only when it has no number in it.
    Raises FerError: unreadable, empty, nothing of Caffe's in it, of another command of Caffe's, cut off at a width.
    """
    if is_file := isinstance(source, str | os.PathLike):
        name, path = str(source), Path(source)
    else:
        name, given = "the log", [*source]

    def lines() -> Iterable[str]:
        return file_lines(path) if is_file else given

    width = line_width(_clean(lines()), name)
    read, truncated = LogAssembler(), False
    for line in unwrap(_clean(lines()), width) if width else lines():
        if not line.strip("\0 "):  # the rest of a line's end in UTF-16
            continue
        truncated = is_file and not line.endswith("\n")
        if not truncated or isinstance(read_line(line), Done | StoppedEarly | Fatal):
            read.feed(line)
    if read.lines == 0 and not truncated:
        raise FerError(f"{name} is empty: Caffe writes its log to stderr, so use `caffe train ... 2> train.log`")
    if read.events == 0:
        raise _no_training(_clean(lines()), name, read.lines)
    read.finish()
    return replace(read.log(truncated=truncated), wrapped=width)


def _clean(lines: Iterable[str]) -> Iterable[str]:
    """Clean lines that still tell whether they have an end."""
    return (clean(line) + "\n" * line.endswith("\n") for line in lines)


def _no_training(lines: Iterable[str], name: str, count: int) -> FerError:
    """What the log is of, where it is no training's."""
    messages = [said.message.strip() for line in lines for said in said_in(line) if "caffe.cpp" in said.source]
    if any(message.startswith("*** Benchmark begins") for message in messages):
        return FerError(f"{name} is a log of `caffe time`, not of a training: nothing was trained")
    if any(map(_BATCH.match, messages)):
        means = [message for message in messages if _MEAN.match(message)][-_SHOWN:]
        return FerError(f"{name} is a log of `caffe test`, not of a training; its means: {', '.join(means)[:150]}")
    return FerError(
        f"{name} is no Caffe training log: looked for lines like\n"
        "  I1124 12:00:00.000000  1 solver.cpp:239] Iteration 100 (8 iter/s, 12s/100 iters), loss = 1.5\n"
        f"and found none in {count} lines. Caffe writes them to stderr (GLOG_logtostderr=1, minloglevel 0)"
    )
