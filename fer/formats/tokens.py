"""A small tokenizer of protobuf text: where things stand in a prototxt, which protobuf's own parser does not keep.

It is used beside the parser, to give a fault its line and to step over an unknown field, never instead of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<word>[\w.+-]+)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True)
class Token:
    """One token: its text as written, where it starts and ends in the file, and its line (from 1)."""

    text: str
    start: int
    end: int
    line: int


def tokenize(text: str) -> Iterator[Token]:
    """The tokens of a prototxt in order, without white space and comments."""
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield Token(match.group(), match.start(), match.end(), line)
        line += match.group().count("\n")


def layer_lines(text: str) -> list[int]:
    """The line of each top-level `layer` (or old `layers`) block, in the file's order."""
    return [block[0].line for block in layer_blocks(text)]


def layer_blocks(text: str) -> list[list[Token]]:
    """The tokens of each top-level `layer` (or old `layers`) block, from that word to its last bracket, in order."""
    blocks: list[list[Token]] = []
    depth, inside = 0, False
    for token in tokenize(text):
        if depth == 0 and token.text in ("layer", "layers"):
            blocks.append([])
            inside = True
        if inside:
            blocks[-1].append(token)
        if token.text in _OPENING:
            depth += 1
        elif token.text in _OPENING.values():
            depth -= 1
            inside = inside and depth > 0
    return blocks


def field_line(text: str, name: str) -> int:
    """The line of the first top-level field called `name`, or 1 where there is none."""
    depth = 0
    for token in tokenize(text):
        if depth == 0 and token.text == name:
            return token.line
        if token.text in _OPENING:
            depth += 1
        elif token.text in _OPENING.values():
            depth -= 1
    return 1


def blank_field(text: str, start: int) -> str | None:
    """The text with the field whose name starts at offset `start` overwritten by spaces; None if it has no end.

    Line and column of all that follows stay the same, so that a second parse reports true places.
    """
    tokens = [token for token in tokenize(text) if token.start >= start]
    end = _field_end(tokens)
    if end is None or tokens[0].start != start:
        return None
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _field_end(tokens: list[Token]) -> int | None:
    """Offset just behind the field (name, value) that `tokens` begins with."""
    value = 2 if len(tokens) > 1 and tokens[1].text == ":" else 1
    if len(tokens) <= value:
        return None
    if tokens[value].text not in _OPENING:
        return tokens[value].end
    depth = 0
    for token in tokens[value:]:
        depth += (token.text in _OPENING) - (token.text in _OPENING.values())
        if depth == 0:
            return token.end
    return None
