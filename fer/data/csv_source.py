"""The grammar of `fer2013.csv`: three columns in any order, 2304 numbers a row, nothing guessed.

Taken is what spreadsheets and pandas make of it too: a byte order mark, UTF-16, `;` or tabs, lines that end in CR, more
columns, quoted fields with commas and line ends, pixels as a list (`[70, 80, ...]`) or as whole floats (`70.0`).
"""

import csv
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from fer.data.classes import SEVEN, ClassTable
from fer.data.csv_text import MAX_ROW, row_blocks, rows_of, split
from fer.data.dataset import PIXELS, SIDE, SPLITS, Batch, make_batch
from fer.data.pixel_text import parse_pixels, parse_pixels_fast, plain_numbers, shown
from fer.errors import FerError
from fer.system.workers import Workers

_COLUMNS = ("emotion", "pixels", "usage")
_DELIMITERS = (b",", b";", b"\t", b"|")
_USAGES = {split.value.encode(): position for position, split in enumerate(SPLITS)}
_OPEN_QUOTE = "a quote is opened and not closed in this row"


@dataclass(frozen=True)
class _Header:
    """How the columns of a row are parted, how many there are, and where those that count are (None: not there)."""

    delimiter: bytes
    width: int
    emotion: int
    pixels: int
    usage: int | None


def read_csv(
    stream: BinaryIO, name: str, workers: Workers, table: ClassTable = SEVEN, *, divided: bool = True
) -> Iterator[Batch]:
    """The rows of `stream` in order, parsed by `workers`; `name` stands in messages.

    The column emotion holds a number or a word for a class of `table`. Not `divided`, there is no column Usage, and all
    rows are said to be of Training.
    Raises FerError with the line, the row and the reason at the first faulty row.
    """
    blocks = row_blocks(stream, name)
    line, _, block = next(blocks, b"").partition(b"\n")
    header = _read_header(line, name, divided=divided)
    first_lines: deque[int] = deque()

    def numbered() -> Iterator[bytes]:
        number = 2
        for block in more:
            first_lines.append(number)
            number += block.count(b"\n") + 1
            yield block

    more = itertools.chain([block] if block else [], blocks)
    rows = 0
    try:
        for batch in workers.map(partial(_parse_block, header, table), numbered()):
            rows += len(batch)
            first_lines.popleft()
            yield batch
    except _FaultyRow as fault:
        where = f"{name}:{first_lines[0] + fault.line}: row {rows + fault.row + 1}"
        raise FerError(f"{where}: {fault.reason}") from None
    if not rows:
        raise FerError(f"{name}: there is a header and no row behind it")


def _read_header(line: bytes, name: str, *, divided: bool) -> _Header:
    if not line.strip():
        raise FerError(f"{name}: the file is empty")
    if b"\0" in line:
        raise FerError(f"{name}:1: NUL bytes: this is not a text file, or it is damaged")
    best = max(_DELIMITERS, key=lambda delimiter: len({*_COLUMNS} & {*_names(line, delimiter)}))
    fields = _names(line, best)
    if not divided and "usage" in fields:
        raise FerError(f"{name}:1: has a column Usage, and --split divides what is not divided yet: leave --split out")
    for column in _COLUMNS if divided else _COLUMNS[:2]:
        if fields.count(column) != 1:
            fault = "twice" if column in fields else "not there"
            cure = _cure(fields, line)
            raise FerError(f"{name}:1: the column `{column}` is {fault}; the header reads {shown(line)}\n{cure}")
    emotion, pixels, *usage = (fields.index(column) for column in (_COLUMNS if divided else _COLUMNS[:2]))
    return _Header(best, len(fields), emotion, pixels, usage[0] if usage else None)


def _names(line: bytes, delimiter: bytes) -> list[str]:
    return [field.strip().strip(b'"').strip().decode("ascii", "replace").lower() for field in line.split(delimiter)]


def _cure(fields: list[str], line: bytes) -> str:
    """What to do about a header that lacks a column: the competition's other files are taken for its data."""
    if set(fields) == {"emotion", "pixels"}:
        return (
            "The competition's train.csv is Training alone: icml_face_data.csv (or fer2013.csv) has all three parts\n"
            "To data of your own add a column Usage (Training, PublicTest or PrivateTest), or give --split 80/10/10"
        )
    if set(fields) == {"pixels"}:
        return (
            "The competition's test.csv holds faces without labels, nothing to train on or to score:\n"
            "take icml_face_data.csv (or fer2013.csv) of the same download"
        )
    if "pixels" not in fields and "emotion" not in fields:
        return (
            "The columns of FER2013 are emotion, pixels and Usage, in any order; of images that lie in files give the "
            "folder, sorted into one for each class"
        )
    return "The columns of FER2013 are emotion, pixels and Usage, in any order"


class _FaultyRow(Exception):
    """The row `row` of a block, which begins on its line `line`, both from 0, is not one of FER2013's: `reason`."""

    def __init__(self, row: int, line: int, reason: str):
        super().__init__(row, line, reason)
        self.row = row
        self.line = line
        self.reason = reason


def _parse_block(header: _Header, table: ClassTable, block: bytes) -> Batch:
    lines, rows = rows_of(block)
    labels = np.empty(len(rows), np.uint8)
    splits = np.zeros(len(rows), np.uint8)
    known: dict[bytes, int] = {}
    texts = []
    for row, text in enumerate(rows):
        try:
            fields = _split_row(text, header)
            if (label := known.get(fields[header.emotion])) is None:
                label = known[fields[header.emotion]] = _label(table, fields[header.emotion])
            labels[row] = label
            if header.usage is not None:
                splits[row] = _look_up(_USAGES, fields[header.usage], "Usage", ", ".join(s.value for s in SPLITS))
        except ValueError as error:
            raise _FaultyRow(row, lines[row], str(error)) from None
        texts.append(fields[header.pixels])
    pixels = parse_pixels_fast(texts)
    if pixels is None:
        pixels = parse_pixels_fast([plain_numbers(text) for text in texts])
    if pixels is None:
        pixels = np.empty((len(texts), PIXELS), np.uint8)
        for row, text in enumerate(texts):
            try:
                pixels[row] = parse_pixels(plain_numbers(text))
            except ValueError as error:
                reason = _OPEN_QUOTE if b"\n" in text and not text.startswith((b"[", b"(")) else str(error)
                raise _FaultyRow(row, lines[row], reason) from None
    return make_batch(splits, labels, pixels.reshape(-1, SIDE, SIDE))


def _split_row(row: bytes, header: _Header) -> list[bytes]:
    quotes = row.count(b'"')
    if quotes % 2:
        raise ValueError(_OPEN_QUOTE)
    if len(row) > MAX_ROW:
        raise ValueError(f"no end of line within {MAX_ROW:,} bytes")
    if b"\0" in row:
        raise ValueError("NUL bytes: the file is damaged")
    if quotes:
        text = row.decode("latin-1")  # whatever its bytes are, they come back
        try:
            parsed = next(csv.reader([text], delimiter=header.delimiter.decode(), skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(str(error).partition(" - ")[0]) from None
        fields = [field.encode("latin-1").strip() for field in parsed]
    else:
        fields = [field.strip() for field in split(row, header.delimiter)]
    if len(fields) != header.width:
        what = "the row is empty" if not row.strip() else f"{len(fields)} columns, where the header has {header.width}"
        raise ValueError(what)
    for column in (header.emotion, header.pixels, header.usage) if quotes else ():
        if column is not None and b'"' in (field := fields[column]):
            raise ValueError(f"a quote inside the field {shown(field)}")
    return fields


def _label(table: ClassTable, field: bytes) -> int:
    label = table.find(field.decode("utf-8", "replace"))
    if label is not None:
        return label
    if any(table.keys):
        raise ValueError(f"emotion {shown(field)} is not one of {table.shown}")
    raise ValueError(
        f"emotion {shown(field)} is not one of 0..{len(table) - 1} ({table.shown})\n"
        "Other classes: --classes A,B,C; labels that count otherwise: --classes 1=A,2=B,3=C"
    )


def _look_up(known: dict[bytes, int], field: bytes, column: str, valid: str) -> int:
    if field not in known:
        raise ValueError(f"{column} {shown(field)} is not one of {valid}")
    return known[field]
