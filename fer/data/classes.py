"""The classes of a data set: FER2013's seven unless others are named, and how a source spells them."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fer.errors import UsageError
from fer.formats.log_text import encoding_of
from fer.system.escapes import escaped, some_names

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
"""FER2013's, which are those of data that name no others."""
LEAST, MOST = 2, 100
SYNONYMS = (
    ("angry", "anger"), ("disgust", "disgusted"), ("fear", "fearful", "afraid", "scared"),
    ("happy", "happiness", "joy"),
    ("sad", "sadness"), ("surprise", "surprised"), ("neutral", "neutrality", "normal"), ("contempt", "contemptuous"),
)  # fmt: skip
"""Words for one expression, FER2013's seven first and in its order."""
_WORDS = {word: place for place, words in enumerate(SYNONYMS) for word in words}


def fold(text: str) -> str:
    """What two spellings of one name have in common: capitals or not, letters composed or not, no spaces around."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


@dataclass(frozen=True)
class ClassTable:
    """The `names` of classes by their numbers, and what a source calls them.

    An entry of `keys` is what the source writes for the class, "" where that is its name, a synonym of it, or its
    number from 0. `loose` takes a synonym with other characters around it ("0_anger").
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    loose: bool = False

    @classmethod
    def of(cls, entries: Sequence[str]) -> "ClassTable":
        """Of names, or KEY=NAME for each ("1=Surprise"). Raises UsageError for names that no classes may have."""
        parts = [entry.partition("=") if "=" in entry else ("", "", entry) for entry in entries]
        names = tuple(unicodedata.normalize("NFC", name.strip()) for _, _, name in parts)
        keys = tuple(key.strip() for key, _, _ in parts)
        try:
            check_names(names)
        except ValueError as error:
            raise UsageError(f"--classes: {error}") from None
        if any(keys) and not all(keys):
            bare = names[keys.index("")]
            raise UsageError(f"--classes: {bare!r} has no key, and others have one: give KEY=NAME for all, or for none")
        if twice := _twice(keys if any(keys) else ()):
            raise UsageError(f"--classes: {twice!r} stands for two classes")
        return cls(names, keys)

    def __len__(self) -> int:
        return len(self.names)

    def find(self, text: str) -> int | None:
        """The number of the class that a source calls `text`; None where it is none of them."""
        word = fold(text)
        found = self._spellings.get(word, self._words.get(word))
        return self._words.get(re.sub(r"[^a-z]", "", word)) if found is None and self.loose else found

    @classmethod
    def named(cls, names: Sequence[str]) -> "ClassTable":
        """Of names that a source has itself. Raises ValueError for those that no classes may have."""
        check_names(names)
        return cls(tuple(names), ("",) * len(names))

    @property
    def shown(self) -> str:
        """What `find` knows, for messages."""
        return some_names([f"{key}={name}" if key else name for key, name in zip(self.keys, self.names, strict=True)])

    @cached_property
    def _spellings(self) -> dict[str, int]:
        if any(self.keys):
            return {fold(key): label for label, key in enumerate(self.keys)}
        found = {fold(name): label for label, name in enumerate(self.names)}
        if not any(name.isdecimal() for name in self.names):
            found |= {str(label): label for label in range(len(self.names))}
            found |= {f"{label}.0": label for label in range(len(self.names))}  # pandas' where the column had a gap
        return found

    @cached_property
    def _words(self) -> dict[str, int]:
        """Synonyms, of names that have no other of their kind beside them."""
        kinds = [_WORDS.get(fold(name)) for name in self.names]
        return {
            word: label
            for label, kind in enumerate(kinds)
            if kind is not None and kinds.count(kind) == 1 and not any(self.keys)
            for word in SYNONYMS[kind]
        }


SEVEN = ClassTable(CLASSES, ("",) * len(CLASSES))
"""FER2013's."""


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for names that cannot be classes: too few or many, empty, unseen, or two of one spelling."""
    if not LEAST <= len(names) <= MOST:
        raise ValueError(f"{len(names):,} class{'es' * (len(names) != 1)}, not {LEAST} to {MOST}")
    for place, name in enumerate(names, 1):
        if not fold(name):
            raise ValueError(f"class {place} has no name")
        if escaped(name) != name:
            raise ValueError(f"the class name '{escaped(name)}' holds characters that cannot be seen")
    if twice := _twice(fold(name) for name in names):
        alike = " and ".join(f"'{name}'" for name in names if fold(name) == twice)
        raise ValueError(f"classes differ in capitals or not at all: {alike}")


def read_classes(given: str) -> tuple[str, ...]:
    """The entries of --classes: "A,B,C", or a file with one a line, as labels.txt, or as `lines_of` has them.

    Raises UsageError.
    """
    path, listed = Path(given), given.split(",")
    try:
        # A list may be longer than a file's name may be.
        entries = listed if len(listed) > 1 or not path.is_file() else lines_of(as_text(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"--classes {given}: cannot be read: {error.strerror}") from None
    if entries == [given]:
        raise UsageError(f"--classes {given}: no such file; give one with a class a line, or names with commas between")
    ClassTable.of(entries)
    return tuple(entry.strip() for entry in entries)


def class_names(known: tuple[str, ...], count: int) -> tuple[str, ...]:
    """What the data calls its classes, FER2013's where nothing is `known`; numbers where they are not as many."""
    names = known or CLASSES
    return names if len(names) == count else tuple(f"class {index}" for index in range(count))


def as_text(data: bytes) -> str:
    """What a file of names says, in the encodings that editors write."""
    try:
        return data.decode(encoding_of(data[:4096]))
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def lines_of(text: str) -> list[str]:
    """The lines of a file of names but for comments and the empty ones at its end; or what else lists them: one line
    with commas between, JSON's lists, and JSON's names by number, as "NUMBER NAME"."""
    try:
        said = json.loads(text.replace("'", '"') if text.startswith("['") else text)
    except (ValueError, RecursionError):
        lines = [line for line in text.lstrip("\ufeff").rstrip().splitlines() if not line.lstrip().startswith("#")]
        return lines[0].split(",") if len(lines) == 1 else lines
    if isinstance(said, dict):
        said = [f"{key} {value}" for key, value in said.items()]
    return [str(each) for each in said] if isinstance(said, list) else [text]


def _twice(words: Iterable[str]) -> str | None:
    return next(_repeated(words), None)


def _repeated(words: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for word in words:
        if word in seen:
            yield word
        seen.add(word)
