"""The log of a training among those at hand: one, or the parts that a training left which was resumed."""

import re
from collections.abc import Callable
from pathlib import Path

from fer.errors import FerError
from fer.formats.log import parse_log
from fer.formats.log_records import Log
from fer.formats.log_text import file_lines
from fer.imports.given import GivenFile
from fer.imports.parts import Parts, several
from fer.imports.recognise import Kind

_STAMP = re.compile(r"\b[IWEF](\d{4})?(\d{4}) (\d\d:\d\d:\d\d\.\d+)")


def training_log(
    parts: Parts, scratch: Path, say: Callable[[str], None], *, asked_for: bool
) -> tuple[Log | None, Path | None]:
    """The log, and its file: where it is in parts, a file in the folder `scratch` that has them all.

    One that tells of no training is left out with a word, or refused where it was `asked_for`. Raises FerError where
    there are those of several trainings.
    """
    read: dict[GivenFile, Log] = {}
    for file in parts.logs:
        try:
            with file.told():
                read[file] = parse_log(file.path)
        except FerError as error:
            if asked_for:
                raise
            say(f"left out: {str(error).splitlines()[0]}")
    for file in read:
        parts.took(Kind.LOG, file)
    if len(read) < 2:
        return next(((log, file.path) for file, log in read.items()), (None, None))
    lines = [line for file in sorted(read, key=_begun) for line in _whole_lines(file.path)]
    log = parse_log(lines)
    if log.others:
        raise several(Kind.LOG, list(read), "--log")
    path = scratch / "train.log"
    path.write_text("".join(lines), encoding="utf-8")
    return log, path


def _begun(file: GivenFile) -> tuple[str, ...]:
    """When a log's first line was written, to be sorted by."""
    stamps = (_STAMP.search(line) for line in file_lines(file.path))
    return next(((found[1] or "", found[2], found[3]) for found in stamps if found), ())


def _whole_lines(path: Path) -> list[str]:
    return [line if line.endswith("\n") else f"{line}\n" for line in file_lines(path)]
