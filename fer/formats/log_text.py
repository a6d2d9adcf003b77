"""The text of a log as people have it: in any encoding, in colours, out of docker, a notebook, a page or a console.

for line in file_lines(path): ...
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from fer.errors import FerError
from fer.formats.log_document import document_lines
from fer.formats.log_lines import (
    Event,
    Iteration,
    Lr,
    Output,
    Testing,
    TestLoss,
    TestScore,
    read_line,
)

LONGEST_LINE = 2**16
"""Characters of a line that are read: none of Caffe's is as long."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_START = re.compile(r"[IWEF](?:[0-9]{8}|[0-9]{4}) [0-9]{2}:[0-9]{2}:[0-9]{2}")
# A line in quotes, of a CSV or of JSON that is cut.
_QUOTED = re.compile(rf'[^"]*"({_START.pattern}[^"\\]*)(?:\\r)?(?:\\n)?"')
# A colour of glog's (as bytes, as `cat -v` and editors show it, or with its first byte lost), a window's title.
_COLOURS = re.compile(
    r"(?:\x1b|\^\[)\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]"
    r"|\[(?:[0-9]{1,2};?)*m(?=\s*$)"
)
# The beginning of a line that cannot be whole, as it would be an event if it were.
_BROKEN = re.compile(r"\] .{0,40}?(?:Iteration [0-9]+ \([^)]*|T(?:est|rain) net output #[0-9]+: \S+ = \S+ \(\*[^)]*)$")
_PIECES = 12  # lines that one of Caffe's may have been wrapped into
_TRIMMED = 5  # spaces that a console leaves out at the end of a line
_FEW = 3
_CONSOLES = (79, 80, 99, 100, 119, 120, 131, 132)  # columns; PowerShell takes one less


def clean(line: str) -> str:
    """A line without its end, NUL bytes and colours; out of the JSON that docker and others keep logs in, or a CSV."""
    line = line.rstrip("\r\n").replace("\0", "")
    if line.startswith("{"):
        line = _of_object(line)
    elif '"' in line and (quoted := _QUOTED.match(line)):
        line = quoted[1]
    if "\x1b" in line or "\x9b" in line or "^[" in line or line.rstrip().endswith("m"):
        line = _COLOURS.sub("", line)
    return line


def _of_object(line: str) -> str:
    """The text in a line's JSON object: docker's "log", or what begins as Caffe's lines do."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return line
    texts = [
        value for key, value in fields.items() if isinstance(value, str) and (key == "log" or _START.search(value))
    ]
    return texts[0].rstrip("\r\n") if texts else line


def file_lines(path: Path) -> Iterator[str]:
    """The lines of a file, each with its end as "\\n", longer ones cut; of a document, of the text that it shows.

    Raises FerError if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            encoding = encoding_of(file.read(4096))
        with path.open(encoding=encoding, errors="replace") as text:
            document = document_lines(text)
            yield from _cut(text) if document is None else document
    except OSError as error:
        raise FerError(f"cannot read the log {path}: {error.strerror}") from error


def encoding_of(start: bytes) -> str:
    """The encoding of a text, by its mark.

    Without one (PowerShell's >> writes none) UTF-16 is known by the zero bytes of plain letters."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    for zeros, letters, name in ((start[1::2], start[::2], "utf-16-le"), (start[::2], start[1::2], "utf-16-be")):
        if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros) and letters.count(0) < 0.1 * len(letters):
            return name
    return "utf-8-sig"


def _cut(text: IO[str]) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
            rest = text.readline(LONGEST_LINE)
        yield line if rest is line or not rest.endswith("\n") else line + "\n"


def line_width(lines: Iterable[str], name: str) -> int:
    """The columns that a console has wrapped the lines of a log at, 0 where it has not.

    Raises FerError where it has cut them off: the numbers are lost.
    """
    wrapped: Counter[int] = Counter()  # lines that say something with those behind them alone
    doubtful: Counter[int] = Counter()  # lines that say something else with those behind them
    lengths: Counter[int] = Counter()
    followed, broken = set(), set()
    for held in _groups(lines):
        first = held[0].rstrip("\n")
        width, alone = len(first), read_line(first) if len(held) > 1 or _BROKEN.search(first) else None
        lengths[width] += 1
        if len(held) > 1 and alone is not None:
            followed.add(width)
        if len(held) > 1 and len(_unwrapped(held, width, paths=False)) < len(held):
            (wrapped if alone is None else doubtful)[width] += 1
        elif alone is None and _BROKEN.search(first):
            broken.add(width)
    if wrapped:
        commonest = wrapped.most_common(1)[0][0]
        return max(width for width in wrapped + doubtful if width <= commonest + _TRIMMED)
    longest = max(lengths, default=0)
    if longest in _CONSOLES and doubtful[longest] and min(followed) >= longest - _TRIMMED:
        return longest
    if longest in broken and lengths[longest] >= _FEW:
        raise FerError(
            f"{name}: its lines are cut off at {longest} columns, in the middle of numbers\n"
            "take the log as Caffe wrote it: `caffe train ... 2> train.log`"
        )
    return 0


def unwrap(lines: Iterable[str], width: int) -> Iterator[str]:
    """Lines that a console has wrapped at `width` columns, as they were."""
    for held in _groups(lines):
        yield from _unwrapped(held, width) if len(held) > 1 else held


def _groups(lines: Iterable[str]) -> Iterator[list[str]]:
    """Each of Caffe's lines with those of no header behind it, of which it may be wrapped into the first few."""
    held: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        if _START.search(line):
            if held:
                yield held
            held = [line]
        elif held and len(held) < _PIECES:
            held.append(line)
    if held:
        yield held


def _unwrapped(held: list[str], width: int, *, paths: bool = True) -> list[str]:
    """One of Caffe's lines out of pieces, where they make one; with the lines behind it that are none of its pieces.

    Of lines that end with any text, as with `paths`, only the width tells.
    """
    pieces = [line.rstrip("\n") for line in held]
    alone = read_line(pieces[0])
    full = pieces[0].ljust(width) if alone is None or isinstance(alone, Output) else pieces[0]
    for way in (_glued, _spaced):
        text, used = way([full, *pieces[1:]] if way is _glued else pieces, width)
        event = read_line(text) if used > 1 else None
        if event != alone and _goes_on(alone, event, exact=way is _glued, paths=paths):
            return [text + "\n" * held[used - 1].endswith("\n"), *held[used:]]
    return held


def _goes_on(alone: Event | None, event: Event | None, *, exact: bool, paths: bool) -> bool:
    """Whether the event of a line and those behind it is what was meant, not the line's own."""
    if event is None or (exact and paths):
        return event is not None
    if not isinstance(event, Testing | Output | TestScore | Iteration | Lr | TestLoss):
        return False
    if exact or alone is None:
        return True
    return isinstance(alone, Output) and isinstance(event, Output) and _told(alone) == _told(event)


def _told(output: Output) -> str:
    return f"{output.name} {output.value}"  # of a nan too


def _glued(pieces: list[str], width: int) -> tuple[str, int]:
    """Pieces as a console wraps: each is as long as it is wide, but for the last and for spaces left out."""
    text, best = pieces[0], (pieces[0], 1)
    for used, piece in enumerate(pieces[1:], 2):
        if len(text) != (used - 1) * width:
            break
        text += piece
        if read_line(text) is not None:
            best = text, used
        if len(piece) < width - _TRIMMED:
            break
        text = text.ljust(used * width)
    return best


def _spaced(pieces: list[str], width: int) -> tuple[str, int]:
    """Pieces as mail and text programs wrap: between words."""
    text, used = pieces[0], 1
    for piece in pieces[1:_FEW]:
        text, used = f"{text.rstrip()} {piece.lstrip()}", used + 1
        if read_line(text) is not None:
            break
    return text, used
