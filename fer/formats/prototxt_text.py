"""The text of prototxt files: Caffe takes comments and strings as bytes, which need not be UTF-8.

A byte that is not UTF-8 becomes one character of Unicode's private use area, which protobuf takes in its strings and
UTF-8 text hardly ever holds; it becomes that byte again where text is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from google.protobuf.message import DecodeError, Message

from fer.errors import FerError
from fer.formats.tokens import tokenize
from fer.schema import caffe_pb2

_SURROGATE, _PRIVATE = 0xDC00, 0xF700  # of both, 0x80 to 0xFF on: Python's own characters for such bytes, and ours
_TO_PRIVATE = {_SURROGATE + byte: _PRIVATE + byte for byte in range(0x80, 0x100)}
_TO_SURROGATE = {private: surrogate for surrogate, private in _TO_PRIVATE.items()}
_PRIVATE_USED = re.compile(f"[{chr(_PRIVATE + 0x80)}-{chr(_PRIVATE + 0xFF)}]")
_BINARY = re.compile(rb"\x00|^[\x01-\x08\x0e-\x1f]")
_OCTALS = re.compile(r"(?<!\\)(?:\\[23][0-7]{2})+")  # as protobuf writes bytes that are not ASCII
# What protobuf's parser does not take behind a backslash.
_WRONG_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*\\(?:[^abfnrtv?'\"\\0-7xXuU]|[xX](?![0-9a-fA-F])|u(?![0-9a-fA-F]{4})|U(?![0-9a-fA-F]{8}))"
)
_LOOSE_SIGN = re.compile(r"-[\s#]")
_BEGINS_NUMBER = re.compile(r"[0-9.]|inf|nan", re.IGNORECASE)
_COMMENT = re.compile(r"#[^\n]*")
_FOREIGN = re.compile(r"[^\x00-\x7f]|\+|[0-9]_[0-9]")
_FOREIGN_NUMBER = re.compile(r"\+[\w.]+|-?[0-9]+(?:_[0-9]+)+[\w.]*")
_EXPECTED = "a prototxt is expected here"
_KINDS: tuple[tuple[str, type[Message], str], ...] = (
    ("the weights of a net (.caffemodel)", caffe_pb2.NetParameter, "layer layers"),
    ("the state of a training (.solverstate)", caffe_pb2.SolverState, "learned_net history"),
    ("a mean (.binaryproto)", caffe_pb2.BlobProto, "data double_data"),
)


def decode(data: bytes) -> str:
    """Text of bytes, whatever they are; `encode` gives the same bytes again."""
    text = data.decode("utf-8", "surrogateescape")
    text = _PRIVATE_USED.sub(lambda used: used[0].encode().decode("ascii", "surrogateescape"), text)
    return text.translate(_TO_PRIVATE)


def encode(text: str) -> bytes:
    """The bytes of a text that came from `decode`, or of any other."""
    return text.translate(_TO_SURROGATE).encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Whether a text of `decode` was UTF-8 all through."""
    return not _PRIVATE_USED.search(text)


def file_path(text: str) -> Path:
    """The path that a string of a prototxt means, byte by byte."""
    return Path(os.fsdecode(encode(text)))


def read_text(path: str | Path) -> str:
    """The text of a prototxt. Raises FerError where the file cannot be read or is something else."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"cannot read {path}: {error.strerror}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FerError(f"{path} is not text that Caffe reads but UTF-16; save it as UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        raise FerError(f"{path}:1: the file begins with a byte-order mark, which Caffe does not read; save it without")
    if found := _BINARY.search(data):
        raise FerError(f"{path} is not text but {_kind(data) or f'binary (byte {found.start()})'}; {_EXPECTED}")
    return _OCTALS.sub(lambda found: decode(bytes(int(byte, 8) for byte in found[0].split("\\")[1:])), decode(data))


def _kind(data: bytes) -> str | None:
    """Which of Caffe's binary files the bytes are."""
    for kind, message, fields in _KINDS:
        found = message()
        try:
            found.ParseFromString(data)
        except DecodeError:
            continue
        if any(getattr(found, field) for field in fields.split()):
            return kind
    return None


def joined_signs(text: str) -> str:
    """The text with each minus sign at its number: C++'s parser takes white space and comments between, Python's not.

    All that follows stays on its line.
    """
    if not _LOOSE_SIGN.search(text):
        return text
    parts, written = [], 0
    tokens = list(tokenize(text))
    for sign, number in pairwise(tokens):
        if sign.text == "-" and _BEGINS_NUMBER.match(number.text):
            lines = text.count("\n", sign.end, number.start)
            parts += [text[written : sign.end], number.text, "\n" * lines]
            written = number.end
    return "".join((*parts, text[written:]))


def foreign_faults(text: str) -> Iterator[tuple[int, str]]:
    """Lines and sentences of what Python's parser takes, and C++'s, which is Caffe's, does not."""
    if not _FOREIGN.search(text):
        return
    end, line = 0, 1
    for token in tokenize(text):
        between = _COMMENT.sub("", text[end : token.start])
        outside = between if not between.isascii() else token.text if token.text[0] not in "\"'" else ""
        if (odd := next((char for char in outside if not char.isascii()), None)) is not None:
            yield (
                (line if outside is between else token.line),
                (f"{odd!a} outside of strings and comments, which Caffe does not read: copied from a page?"),
            )
        elif _FOREIGN_NUMBER.fullmatch(token.text):
            yield token.line, f"{token.text}: Caffe reads no + in front of a number, and no _ within"
        end, line = token.end, token.line


def backslash_faults(text: str) -> Iterator[tuple[int, str]]:
    """Lines and sentences of strings with a backslash that Caffe does not take, as in paths of Windows."""
    if "\\" not in text:
        return
    for token in tokenize(text):
        if token.text[0] in "\"'" and _WRONG_ESCAPE.search(token.text):
            yield token.line, f"{token.text}: a backslash in a string begins a special character; in a path write /"
