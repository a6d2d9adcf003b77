"""A row of the log's grammar: a text with fields in braces, from which a line is written and read alike."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Generic, TypeVar, get_type_hints

E = TypeVar("E")

NUMBER = r"[-+]?(?i:nan(?:\(\w*\))?|inf(?:inity)?|1\.#\w+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?)"
# Caffe counts in 32 bits; a longer number is none of its own.
PATTERNS = {int: r"[0-9]{1,10}", float: NUMBER, str: r".*?"}


@dataclass(frozen=True)
class Line(Generic[E]):
    """A row of the grammar: the event, the text with its fields in braces ("{_}": anything), and the source named."""

    event: type[E]
    text: str
    source: str
    pattern: re.Pattern[str] = field(init=False, repr=False)
    casts: dict[str, Callable[[str], Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        types = {name: _plain(hint) for name, hint in get_type_hints(self.event).items()}
        parts = self._parts
        regex = "".join(
            re.escape(part) if index % 2 == 0 else _group(part, types.get(part, float), at_end=index == len(parts) - 2)
            for index, part in enumerate(parts)
        )
        names = {f.name for f in fields(self.event)}  # type: ignore[arg-type]  # each is a dataclass
        casts = {name: _CASTS[types[name]] for name in parts[1::2] if name in names}
        object.__setattr__(self, "pattern", re.compile(rf"(?:^|[\s\])>]){regex}$"))
        object.__setattr__(self, "casts", casts)

    @cached_property
    def _parts(self) -> list[str]:
        """Words and names of fields by turns."""
        return re.split(r"\{(\w+)\}", self.text.strip())

    def match(self, message: str) -> E | None:
        """The event of a message that has no white space at its end."""
        if self._parts[0] not in message:  # far quicker than the pattern
            return None
        found = self.pattern.search(message)
        return self.event(**{name: cast(found[name]) for name, cast in self.casts.items()}) if found else None

    def fill(self, event: E) -> str | None:
        """The text with the event's values, or None where the event lacks one of them."""
        values = {}
        for name in self._parts[1::2]:
            if (value := getattr(event, name, None)) is None:
                return None
            values[name] = show(value)
        return self.text.format_map(values)


def _plain(hint: Any) -> type:
    """The type of an annotation without its `| None`."""
    plain: type = next((t for t in getattr(hint, "__args__", ()) if t is not type(None)), hint)
    return plain


def _group(name: str, type_: type, *, at_end: bool) -> str:
    if name == "_":  # within a line it ends where it can be told to, so that no line takes long
        return ".*" if at_end else "[^()=]*?"
    if name == "name" and not at_end:
        return "(?P<name>(?:(?! = ).)*?)"
    return f"(?P<{name}>{PATTERNS[type_]})"


def _to_float(text: str) -> float:
    """A number as C++ prints it, on Windows too (`1.#QNAN`, `-1.#IND`, `1.#INF`)."""
    if "#" in text:
        text = "inf" if "inf" in text.lower() else "nan"
    return float(text.split("(")[0])


_CASTS: dict[type, Callable[[str], Any]] = {int: int, float: _to_float, str: str}


def show(value: object) -> str:
    """As a C++ stream prints it: six significant digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, int) else " ".join(str(value).splitlines())
