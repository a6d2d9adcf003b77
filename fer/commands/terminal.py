"""What a person sees on stderr while fer works: bars on a terminal, plain lines when piped."""

import codecs
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from fer.system.escapes import escaped

PLAIN_LINE_SECONDS = 10.0
PLAIN = str.maketrans({"–": "-", "·": "-", "→": "->"})


_LINE = 200 - len("warning: ")
_ENDS = tuple(map(re.compile, (r"[.;] ", r"[:,] ", " ")))
_names: list[str] = []  # of the command line, with a line's end in them


def show_any_text(words: Sequence[str] = ()) -> None:
    """Let stdout and stderr print whatever there is to say: what their encoding has not is written in ASCII.

    `words` are the command line's: a line's end in one of them will not end a line that is shown.
    """
    parts = {part for word in words for part in (word.partition("=")[2], *Path(word).parts)}
    _names[:] = sorted((part for part in parts if "\n" in part.strip()), key=len, reverse=True)
    codecs.register_error("fer.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="fer.plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


# What a terminal is given goes through these: text from outside commands nothing there.


def _harmless(text: str) -> str:
    for name in _names:
        text = text.replace(name, escaped(name))
    return escaped(text, keep="\n")


def show(text: str, end: str = "\n") -> None:
    """Print what was asked for, on stdout."""
    with tqdm.external_write_mode(file=sys.stdout):
        print(_harmless(text), end=end, flush=True)


def width() -> int | None:
    """Columns that stdout has room for, COLUMNS where that is set; None where it is a file or a pipe."""
    if not (os.environ.get("COLUMNS") or sys.stdout.isatty()):
        return None
    return max(shutil.get_terminal_size().columns, 20)


def say_out(text: str, indent: int = 0) -> None:
    """Print a sentence to stdout, over several lines where it is wider than the terminal; `indent` those after."""
    room = width()
    show(text if room is None else textwrap.fill(text, room, subsequent_indent=" " * indent, break_on_hyphens=False))


def say(text: str) -> None:
    """Print a line (or several) to stderr without tearing a bar."""
    tqdm.write(_harmless(text), file=sys.stderr)


def brief(text: str, most_lines: int = 3) -> str:
    """The text in so many lines of 200 characters: broken where a sentence or a word ends, or cut where it must be.

    Of more lines the first and the last stay, of a longer one both ends: what is wrong stands first, the cure last.
    """
    text = _harmless(text)
    wrapped = [part for line in text[: 2 * most_lines * _LINE].split("\n") for part in _broken(line)]
    if len(text) <= 2 * most_lines * _LINE and len(wrapped) <= most_lines and max(map(len, wrapped)) <= _LINE:
        return "\n".join(wrapped)
    lines = [_cut(line) for line in text.split("\n")]
    left_out = len(lines) - most_lines
    if left_out > 0:
        lines[most_lines - 2 : -1] = [_cut(f"{lines[most_lines - 2]} (and {left_out:,} more lines)")]
    return "\n".join(lines)


def _broken(line: str) -> list[str]:
    """A line as several, each of which ends with a sentence, or else with a part of one, or else with a word."""
    parts = []
    while len(line) > _LINE:
        ends = [max((found.end() for found in end.finditer(line, 0, _LINE)), default=0) for end in _ENDS]
        if not any(ends):
            break
        end = next(filter(None, ends))
        parts.append(line[:end].rstrip())
        line = line[end:]
    return [*parts, line]


def _cut(line: str) -> str:
    tail = _LINE // 3
    return line if len(line) <= _LINE else f"{line[: _LINE - tail - 5]} ... {line[-tail:]}"


def error(text: str, most_lines: int = 3) -> None:
    """Print an error, `error:` in red on a terminal that wants colour; cut where it is long, not to flood one."""
    text = brief(text, most_lines)
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\033[31merror:\033[0m {text}" if colour else f"error: {text}", file=sys.stderr)


class Bar:
    """One long step with rate and ETA: a tqdm bar on a terminal, else a line every ten seconds."""

    def __init__(self, stage: str, total: int, unit: str = "it", initial: int = 0):
        self.stage, self.total, self.unit, self.initial = stage, total, unit, initial
        self.done, self.note = initial, ""
        self._shown = initial
        self._started = self._line_at = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            scale = unit == "B"
            self._bar = tqdm(
                desc=stage, total=total, unit=unit, unit_scale=scale, initial=initial, file=sys.stderr, leave=False
            )

    @property
    def live(self) -> bool:
        """Whether a bar is drawn, as on a terminal."""
        return self._bar is not None

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total is done; `note` stands at the end of the line."""
        advanced, self.done, self.note = done - self.done, done, escaped(note)
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(advanced)
        elif time.monotonic() - self._line_at >= PLAIN_LINE_SECONDS:
            self._line_at = time.monotonic()
            self._print_line()

    def _print_line(self) -> None:
        self._shown = self.done
        rate = (self.done - self.initial) / max(time.monotonic() - self._started, 1e-9)
        eta = tqdm.format_interval((self.total - self.done) / rate) if rate > 0 else "?"
        note = f", {self.note}" if self.note else ""
        size, unit = (1e6, " MB") if self.unit == "B" else (1, f" {self.unit}".rstrip())
        done, total, rate = self.done / size, self.total / size, rate / size
        say(f"{self.stage}: {done:,.0f}/{total:,.0f}{unit}, {rate:,.1f}{unit or ' '}/s, ETA {eta}{note}")

    def close(self) -> None:
        """Take the bar away; a piped run that printed a line before prints its last."""
        if self._bar is not None:
            self._bar.close()
        elif self._line_at > self._started and self.done != self._shown:
            self._print_line()


class StageBars:
    """`progress(stage, done, total)`: one bar after the other, a new one when the stage changes.

    `units` names the unit of stages that have another than `unit`; "B" is shown as MB.
    """

    def __init__(self, unit: str = "", units: Mapping[str, str] | None = None):
        self._unit, self._units = unit, units or {}
        self._bar: Bar | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bar is None or (stage, total) != (self._bar.stage, self._bar.total):
            self.close()
            self._bar = Bar(stage, total, self._units.get(stage, self._unit))
        self._bar.update(done)

    def close(self) -> None:
        """End the running bar, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> "StageBars":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
