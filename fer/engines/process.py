"""Starting an engine, following its log, and turning its death into a sentence."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from fer.errors import FerError

POLL_SECONDS = 0.05
CHUNK = 2**20
_OUR_BUG = 70
_FATAL = re.compile(r"^F\d{4,8} \S+ +\d+ [^\]]+\] (.*)")
# Caffe's lines, of which a failed layer lacks the second; and the words of the PyTorch engine.
_BUILDING = re.compile(r"\] (?:Creating [Ll]ayer|(?P<done>Setting up)) (?P<name>.+)$|\blayer '(?P<ours>[^']+)'")
_NOTHING_SAID = re.compile(r"SystemError: <Boost\.Python|terminate called after throwing")
_RAISED = re.compile(r"[\w.]+(?:Error|Exception|Exit|Interrupt)\b")
_LAST_LINE = "its last line: "
_ENDINGS = {
    signal.SIGKILL: "was killed (SIGKILL), most often by the system for want of memory: try a smaller batch_size",
    signal.SIGSEGV: "crashed (SIGSEGV: it touched memory that is not its own)",
    signal.SIGBUS: "crashed (SIGBUS: a file it was reading was cut short, or the disk is full)",
    signal.SIGABRT: "gave up (SIGABRT)",
}


class EngineError(FerError):
    """An engine ended badly: the user's to mend, unless it said by exit code 70 that the fault is ours."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.exit_code = code if code == _OUR_BUG else 1


class EngineFailed(EngineError):
    """A verb that an engine ended badly: its own `reason`, and the `layer` of a net that it was at, if it said."""

    def __init__(self, message: str, code: int, said: Sequence[str], speaker: str):
        super().__init__(message, code)
        self.reason = last_words(said, speaker).removeprefix(_LAST_LINE)
        self.layer = _layer_in_hand(said)


class Child:
    """A training engine at work, its output going straight into a log file that outlives us.

    It leads a session of its own, so that the terminal's Ctrl-C reaches only us; we pass it on.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, keep: Sequence[int] = ()
    ):
        """Start `argv` in `folder`, its output appended to `log`; `keep` are descriptors it inherits."""
        self.log = log
        with log.open("ab") as stream:
            self._offset = stream.tell()
            try:
                self.process = subprocess.Popen(
                    list(argv),
                    cwd=folder,
                    env={**environment, "FER_PARENT_PID": str(os.getpid())},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                    pass_fds=tuple(keep),
                )
            except OSError as error:
                raise FerError(f"cannot start {argv[0]}: {error.strerror}") from error

    def lines(self, *between: Callable[[], None]) -> Iterator[str]:
        """The log's lines as they are written, until the engine is gone; `between` are called a few times a second."""
        rest, due = b"", 0.0
        with self.log.open("rb") as stream:
            stream.seek(self._offset)
            while True:
                gone = self.process.poll() is not None
                chunk = stream.read(CHUNK)
                *whole, rest = (rest[:CHUNK] + chunk).split(b"\n")
                for line in (*whole, None):
                    if line is not None:
                        yield line.decode("utf-8", "replace")
                    if line is None or time.monotonic() > due:
                        due = time.monotonic() + POLL_SECONDS
                        for each in between:
                            each()
                if gone and not chunk:
                    break
                if not chunk:
                    time.sleep(POLL_SECONDS)
        if rest:
            yield rest.decode("utf-8", "replace")

    def send(self, number: int) -> None:
        """Pass a signal on; the engine alone decides what it does."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it now, with whatever it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def call(
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    speaker: str = "Caffe",
    task: str = "at work",
) -> str:
    """Run an engine's short verb to its end, handing each line of its stderr to `on_line`. Returns its stdout.

    Raises EngineFailed, which says that the `speaker` failed while at its `task`, and its own last words.
    """
    said: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as answer:
        try:
            process = subprocess.Popen(
                list(argv),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise FerError(f"cannot start {argv[0]}: {error.strerror}") from error
        # On the way out of an interruption, the context manager waits for a child that must be gone by then.
        with process, contextlib.ExitStack() as at_end:
            at_end.callback(process.kill)
            for line in process.stderr or ():
                said.append(line.rstrip("\n"))
                if on_line:
                    on_line(said[-1])
            code = process.wait()
        if code != 0:
            message = f"{speaker}, {task}, {how_it_ended(code)}\n{last_words(said, speaker)}"
            raise EngineFailed(message, code, said, speaker)
        answer.seek(0)
        return answer.read()


def how_it_ended(code: int) -> str:
    """A return code in words, to follow the program's name."""
    # A shell, or a program that translates signals itself, says 128 + n.
    number = -code if code < 0 else code - 128
    if number in _ENDINGS:
        return _ENDINGS[signal.Signals(number)]
    if code < 0:
        return f"was ended by {signal.Signals(number).name}"
    return f"stopped with exit code {code}"


def last_words(lines: Sequence[str], speaker: str = "Caffe") -> str:
    """The last fatal message of the `speaker` without its prefix, else the last line that says something."""
    for line in reversed(lines):
        if fatal := _FATAL.match(line):
            return f"{speaker} says: {fatal[1].strip()}"
    meaningful = [line for line in lines if line.strip() and not line.startswith(("    @", "*** "))]
    if meaningful and _NOTHING_SAID.match(meaningful[-1]):  # what a Python layer raised stands before
        raised = [line for line in meaningful if _RAISED.match(line) and not _NOTHING_SAID.match(line)]
        meaningful += raised[-1:]
    return f"{_LAST_LINE}{meaningful[-1].strip()}" if meaningful else "it said nothing"


def _layer_in_hand(lines: Sequence[str]) -> str | None:
    """The layer that a net's building ended at: the last that was begun and not finished."""
    for line in reversed(lines):
        if found := _BUILDING.search(line):
            return None if found["done"] else found["ours"] or found["name"]
    return None
