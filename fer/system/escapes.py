"""Text from outside (names of files, lines of logs, titles), made harmless for where it is shown."""

import json
import re
import unicodedata
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # of Persian words and of emoji
_FORMULA = tuple("=+-@\t\r")


def escaped(text: str, keep: str = "") -> str:
    """`text` with what would act and not be seen written as in JSON: \\u001b, \\u202e, \\n; but for those in `keep`.

    That is control characters, the directions of text, line separators, invisible marks and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if _acts(char) and char not in keep else char for char in text)


def _acts(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _JOINERS


def markdown_text(text: str) -> str:
    """`text` on one line, and as itself in a cell of a Markdown table: no link, code or HTML."""
    return re.sub(r"([\\|<`\[])", r"\\\1", escaped(text))


def csv_text(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one, and is no number, gets a quote."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[0].isspace()


def some_names(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, escaped; of many the first, and how many there are."""
    listed = ", ".join(escaped(name) for name in names[:most])
    return listed if len(names) <= most else f"{listed}, ... ({len(names)} in all)"
