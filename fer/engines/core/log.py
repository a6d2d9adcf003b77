"""The log on stderr: Caffe's lines through the one grammar, and plain lines under the same header."""

import os
import sys
from datetime import datetime
from typing import TextIO

from fer.formats.log_lines import Event, Fatal, LogWriter


class Log:
    """Writes events and plain lines; a `silent` one (every rank but the first) writes nothing but fatal lines."""

    def __init__(self, stream: TextIO | None = None, silent: bool = False):
        self._stream = sys.stderr if stream is None else stream
        self._write = LogWriter(self._stream)
        self._silent = silent

    def __call__(self, event: Event) -> None:
        if not self._silent:
            self._write(event)

    def info(self, text: str, source: str = "caffe.cpp:1", severity: str = "I") -> None:
        """A line that is no event; `text` may go over several lines, as Caffe's dumps of parameters do."""
        if not self._silent:
            header = f"{severity}{datetime.now():%Y%m%d %H:%M:%S.%f} {os.getpid():>5} {source}]"
            self._stream.write(f"{header} {text}\n")
            self._stream.flush()

    def fatal(self, message: str) -> None:
        """A fatal line, whose message may have several lines: each becomes a sentence of the one line."""
        self._write(Fatal(message))
