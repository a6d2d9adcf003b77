"""Names of expressions as data sets and nets of other people have them, and which of a data directory's each one is."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fer.data.classes import MOST, SYNONYMS, as_text, fold, lines_of
from fer.errors import FerError, nearest

_IN_OUR_WORDS = "say what they are in the data's words, in the net's own order (of: --labels {})"
_OWN_DATA = "take a data directory of the net's own classes: --data DIR"
_QUOTED = re.compile(r"""\s*(["'])(.*)\1\s*,?\s*""")
_MEANING = {word: words[0] for words in SYNONYMS for word in words}
_NUMBERED = re.compile(r"(?:(?P<before>\d+)\s*[:,;=_ ]\s*(?P<name>\S.*)|(?P<named>.*\S)\s*[:,;= ]\s*(?P<behind>\d+))")


def meaning(name: str) -> str:
    """What a name and its usual synonyms have in common: `angry` of Anger, angry and ANGRY."""
    plain = fold(name)
    return _MEANING.get(plain, plain)


def class_order(own: Sequence[str], classes: Sequence[str], whose: str) -> tuple[int, ...]:
    """For each of the data's `classes`, at which place a net has it whose names are `own`.

    Names are the same where they are so by letter, or mean the same (Anger, Angry). Raises FerError, with both lists,
    for a name that the data have not, one that is missing, and one that is there twice; `whose` says where `own` is
    from.
    """
    lists = f"{whose}: {', '.join(own)}; the data: {', '.join(classes)}"
    found: dict[str, int] = {}
    for place, name in enumerate(own):
        if meaning(name) in found:
            raise FerError(f"{whose}: {name!r} and {own[found[meaning(name)]]!r} are one class\n{lists}")
        found[meaning(name)] = place
    if unknown := [name for name in own if meaning(name) not in set(map(meaning, classes))]:
        raise FerError(
            f"{whose}: {unknown[0]!r} is no class of the data{nearest(unknown[0], list(classes))}\n{lists}\n"
            + (_IN_OUR_WORDS.format(",".join(classes)) if len(own) == len(classes) else _OWN_DATA)
        )
    if missing := [name for name in classes if meaning(name) not in found]:
        raise FerError(f"{whose}: the data's class {missing[0]!r} is missing\n{lists}\n{_OWN_DATA}")
    return tuple(found[meaning(name)] for name in classes)


def names_in(text: str, known: Sequence[str] = ()) -> list[str]:
    """The class names of a labels.txt, a line each, in the net's order; a line may have its number, from 0 or 1.

    They may also stand in one line, commas between, or in JSON as a list or by number. A number that belongs to a
    `known` class's name stays. None is there twice. Raises ValueError for what is no such list.
    """
    lines = [" ".join(_QUOTED.sub(r"\2", line).split()) for line in lines_of(text)]
    lines = [line for line in lines if line]
    if not 2 <= len(lines) <= MOST or any(len(line) > 60 or not line.isprintable() for line in lines):
        raise ValueError(f"not a name on each of 2 to {MOST} lines")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    meant = set(map(meaning, known))
    if all(numbered) and any(meaning(line) not in meant for line in lines):
        names = {
            int(found["before"] or found["behind"]): (found["name"] or found["named"]).strip()
            for found in numbered
            if found
        }
        first = min(names)
        if sorted(names) != list(range(first, first + len(lines))) or first > 1:
            raise ValueError(f"its numbers are not 0 to {len(lines) - 1} or 1 to {len(lines)}, each once")
        if len(set(names.values())) == len(names):  # not "class 0", "class 1"
            lines = [names[number] for number in sorted(names)]
    if len(set(lines)) < len(lines):
        twice = next(line for line in lines if lines.count(line) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return lines


def read_labels(given: str, known: Sequence[str] = ()) -> list[str]:
    """The class names of `--labels`: those of a file, as `names_in` has them, or given with commas between.

    Raises FerError.
    """
    path = Path(given)
    if "," in given and not os.path.isfile(given):  # noqa: PTH113 -- Path.is_file() raises for a name of 255 bytes
        text = "\n".join(given.split(","))
    else:
        try:
            text = as_text(path.read_bytes())
        except OSError as error:
            raise FerError(
                f"--labels {given}: cannot be read: {error.strerror}\n"
                "give a labels.txt, or the names: Angry,Disgust,Fear,..."
            ) from None
    try:
        return names_in(text, known)
    except ValueError as error:
        raise FerError(f"--labels {given}: no list of class names: {error}") from None
