"""A CSV's bytes as rows: its encoding, its line ends, and fields in quotes that go over several lines."""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from fer.errors import FerError

MAX_ROW = 1 << 16
"""No row is longer, in bytes: one of FER2013's has less than ten thousand."""
_BLOCK = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def row_blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Whole rows of `stream`, many at a time, in UTF-8, without the end of the last; blank lines at the end dropped.

    Raises FerError, naming `name`, for text that is not in the encoding which its mark tells.
    """
    return _blocks(_pieces(stream, name))


def _pieces(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """What is in the stream, in pieces: UTF-8 without a mark, lines that end in a line feed."""
    piece = stream.read(_BLOCK)
    encoding = next((encoding for mark, encoding in _MARKS if piece.startswith(mark)), None)
    if encoding is None and piece[:2].count(0) == 1:  # a letter of UTF-16 without a mark
        encoding = "utf-16-be" if piece[0] == 0 else "utf-16-le"
    decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
    old_ends = None
    while piece:
        following = stream.read(_BLOCK)
        if decoder:
            try:
                piece = decoder.decode(piece, final=not following).encode()
            except UnicodeError as error:
                raise FerError(f"{name}: damaged: not the {encoding} that it begins as ({error})") from None
        if old_ends is None:
            old_ends = b"\n" not in piece and b"\r" in piece
        yield piece.replace(b"\r", b"\n") if old_ends else piece
        piece = following


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole rows, about a piece at a time, without the end of the last one; blank lines at the end dropped."""
    block = rest = b""
    for piece in pieces:
        rest += piece
        end = _end_of_rows(rest)
        if not end and len(rest) > MAX_ROW:  # no row ends: the parser says why
            end = len(rest)
        if end:
            if block:
                yield block.removesuffix(b"\n")
            block, rest = rest[:end], rest[end:]
    if last := (block + rest).rstrip():
        yield last


def _end_of_rows(text: bytes) -> int:
    """Behind the last line end that is in no quotes; 0 where there is none."""
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:
        earlier = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', earlier, end)
        end = earlier
    return end


def rows_of(block: bytes) -> tuple[Sequence[int], list[bytes]]:
    """The line on which each row begins, from 0, and the rows: lines, together where a quoted field has several."""
    lines = split(block, b"\n")
    if b'"' not in block:
        return range(len(lines)), lines
    starts: list[int] = []
    rows: list[bytes] = []
    quotes = 0
    for number, line in enumerate(lines):
        if quotes % 2 and len(rows[-1]) <= MAX_ROW:
            rows[-1] += b"\n" + line
        else:
            starts.append(number)
            rows.append(line)
            quotes = 0
        quotes += line.count(b'"')
    return starts, rows


def split(text: bytes, separator: bytes) -> list[bytes]:
    """`text.split(separator)`, four times as fast where the parts are long: `find` looks at 32 bytes at once."""
    parts, start = [], 0
    while (end := text.find(separator, start)) >= 0:
        parts.append(text[start:end])
        start = end + 1
    parts.append(text[start:])
    return parts
