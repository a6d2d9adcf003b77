"""The grammar of `fer2013.csv`: three columns in any order, 2304 numbers a row, nothing guessed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from fer.data.dataset import CLASSES, PIXELS, SIDE, SPLITS, Batch, make_batch
from fer.errors import FerError
from fer.system.workers import Workers

_BLOCK = 1 << 18
_MAX_ROW = 1 << 16
_COLUMNS = ("emotion", "pixels", "usage")
_LABELS = {str(label).encode(): label for label in range(len(CLASSES))}
_USAGES = {split.value.encode(): position for position, split in enumerate(SPLITS)}
_NUMBER = re.compile(rb"[0-9]{1,3}")


@dataclass(frozen=True)
class _Header:
    """How many columns a row has, and where those that count are."""

    width: int
    emotion: int
    pixels: int
    usage: int


def read_csv(stream: BinaryIO, name: str, workers: Workers) -> Iterator[Batch]:
    """The rows of `stream` in order, parsed by `workers`; `name` stands in messages.

    Raises FerError with the line, the row and the reason at the first faulty row.
    """
    header = _read_header(stream.readline(_MAX_ROW), name)
    rows = 0
    try:
        for batch in workers.map(partial(_parse_block, header), _blocks(stream)):
            rows += len(batch)
            yield batch
    except _FaultyRow as fault:
        row = rows + fault.row + 1
        raise FerError(f"{name}:{row + 1}: row {row}: {fault.reason}") from None
    if not rows:
        raise FerError(f"{name}: there is a header and no row behind it")


def _read_header(line: bytes, name: str) -> _Header:
    if not line.strip():
        raise FerError(f"{name}: the file is empty")
    if line.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise FerError(f"{name}: begins with a byte order mark (BOM). Save it as plain text (UTF-8 without BOM)")
    shown = _shown(line)
    if b"\0" in line:
        raise FerError(f"{name}:1: NUL bytes: this is not a text file, or it is damaged")
    fields = [field.strip().strip(b'"').strip().decode("ascii", "replace").lower() for field in line.split(b",")]
    for column in _COLUMNS:
        if fields.count(column) != 1:
            fault = "twice" if column in fields else "not there"
            raise FerError(
                f"{name}:1: the column `{column}` is {fault}; the header reads {shown}\n"
                "The columns of FER2013 are emotion, pixels and Usage, in any order"
            )
    return _Header(len(fields), *(fields.index(column) for column in _COLUMNS))


class _FaultyRow(Exception):
    """The row `row` of a block, from 0, is not one of FER2013's, for `reason`."""

    def __init__(self, row: int, reason: str):
        super().__init__(row, reason)
        self.row = row
        self.reason = reason


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, about `_BLOCK` bytes at a time, without the end of the last one; blank lines at the end dropped."""
    block = stream.read(_BLOCK) + stream.readline(_MAX_ROW)
    while block:
        following = stream.read(_BLOCK) + stream.readline(_MAX_ROW)
        whole = block.removesuffix(b"\n") if following else block.rstrip()
        if whole or following:
            yield whole
        block = following


def _parse_block(header: _Header, block: bytes) -> Batch:
    lines = _split(block, b"\n")
    labels = np.empty(len(lines), np.uint8)
    splits = np.empty(len(lines), np.uint8)
    texts = []
    for row, line in enumerate(lines):
        try:
            fields = _split_line(line, header.width)
            labels[row] = _look_up(_LABELS, fields[header.emotion], "emotion", "0..6")
            splits[row] = _look_up(_USAGES, fields[header.usage], "Usage", ", ".join(s.value for s in SPLITS))
        except ValueError as error:
            raise _FaultyRow(row, str(error)) from None
        texts.append(fields[header.pixels])
    pixels = parse_pixels_fast(texts)
    if pixels is None:
        pixels = np.empty((len(texts), PIXELS), np.uint8)
        for row, text in enumerate(texts):
            try:
                pixels[row] = parse_pixels(text)
            except ValueError as error:
                raise _FaultyRow(row, str(error)) from None
    return make_batch(splits, labels, pixels.reshape(-1, SIDE, SIDE))


def _split_line(line: bytes, width: int) -> list[bytes]:
    if len(line) > _MAX_ROW:
        raise ValueError(f"no end of line within {_MAX_ROW:,} bytes")
    if b"\0" in line:
        raise ValueError("NUL bytes: the file is damaged")
    if b'"' in line:
        if line.count(b'"') % 2:
            raise ValueError("a quote is opened and not closed in this row")
        fields = [_unquote(field.strip()) for field in _split(line, b",")]
    else:
        fields = [field.strip() for field in _split(line, b",")]
    if len(fields) != width:
        what = "the row is empty" if not line.strip() else f"{len(fields)} columns, where the header has {width}"
        raise ValueError(what)
    return fields


def _split(text: bytes, separator: bytes) -> list[bytes]:
    """`text.split(separator)`, four times as fast where the parts are long: `find` looks at 32 bytes at once."""
    parts, start = [], 0
    while (end := text.find(separator, start)) >= 0:
        parts.append(text[start:end])
        start = end + 1
    parts.append(text[start:])
    return parts


def _unquote(field: bytes) -> bytes:
    if field.startswith(b'"') and field.endswith(b'"') and field.count(b'"') == 2:
        return field[1:-1].strip()
    if b'"' in field:
        raise ValueError(f"a quote inside the field {_shown(field)}")
    return field


def _look_up(known: dict[bytes, int], field: bytes, column: str, valid: str) -> int:
    if field not in known:
        raise ValueError(f"{column} {_shown(field)} is not one of {valid}")
    return known[field]


def _shown(text: bytes) -> str:
    """`text` as it may stand in a message: printable and short."""
    shown = text[:60].decode("ascii", "backslashreplace").strip()
    return repr(shown + ("..." if len(text) > 60 else ""))


def parse_pixels(text: bytes) -> np.ndarray:
    """2304 numbers 0..255 with spaces between, uint8 [2304]. Raises ValueError with the reason."""
    fields = text.split()
    for position, field in enumerate(fields, 1):
        if not _NUMBER.fullmatch(field) or int(field) > 255:
            raise ValueError(f"pixel {position} is {_shown(field)}: not a whole number from 0 to 255")
    if len(fields) != PIXELS:
        raise ValueError(f"{len(fields)} pixels, not {PIXELS} ({SIDE} x {SIDE})")
    return np.array([int(field) for field in fields], np.uint8)


def parse_pixels_fast(texts: list[bytes]) -> np.ndarray | None:
    """`parse_pixels` of many stripped texts at once, uint8 [n, 2304]; None if any of them needs the slow look.

    A number is known by the space behind it: its value is the digit one before, plus ten times the digit two before
    and a hundred times the digit three before, as far as the number reaches.
    """
    if not texts:
        return np.empty((0, PIXELS), np.uint8)
    joined = b"".join([b"   ", b" ".join(texts), b" "])
    digits = np.frombuffer(joined, np.uint8) - np.uint8(ord("0"))
    ends = np.flatnonzero(digits[3:] > 9)
    row_ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    if len(ends) != len(texts) * PIXELS or not np.array_equal(ends[PIXELS - 1 :: PIXELS], row_ends):
        return None
    ones, tens, hundreds = (digits[start:].take(ends) for start in (2, 1, 0))
    two, three = tens < 10, hundreds < 10
    three &= two
    # Every byte is accounted for exactly when no number is longer than three digits.
    length = 2 * len(ends) + np.count_nonzero(two) + np.count_nonzero(three)
    space = np.uint8((ord(" ") - ord("0")) & 0xFF)
    if length != len(joined) - 3 or ones.max() > 9 or np.count_nonzero(digits[3:] == space) != len(ends):
        return None
    tens *= two
    hundreds *= three
    ones += tens * np.uint8(10)
    if hundreds.max() > 2 or ((hundreds == 2) & (ones > 55)).any():
        return None
    ones += hundreds * np.uint8(100)
    return ones.reshape(-1, PIXELS)
