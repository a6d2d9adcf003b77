"""A table of the report: written once, shown by the terminal, the page, and as Markdown, LaTeX or CSV."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from fer.system.escapes import csv_text, escaped, markdown_text

UNKNOWN = "–"
GAP = "  "


@dataclass(frozen=True)
class Column:
    """`text` writes a value that is there; a column of words stands to the left, one of numbers to the right.

    What is `beside` the column before it shares its cells where a cell has room for two lines.
    """

    title: str
    text: Callable[[Any], str] = str
    left: bool = False
    beside: bool = False


@dataclass(frozen=True)
class Table:
    """Values in rows, None where one is not known; `total` is a last row, which may be
    shorter. `note` says what the rows do not; `best` has the numbers of the rows that are best on val."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: tuple[Any, ...] = ()
    note: str = ""
    best: frozenset[int] = frozenset()

    def first(self, count: int) -> Table:
        """The table with its first columns alone."""
        rows = tuple(row[:count] for row in self.rows)
        return replace(self, columns=self.columns[:count], rows=rows, total=self.total[:count])

    @property
    def cells(self) -> list[list[str]]:
        return [self._written(row) for row in self.rows]

    @property
    def total_cells(self) -> list[str]:
        return self._written(self.total) + [""] * (len(self.columns) - len(self.total))

    def _written(self, row: Sequence[Any]) -> list[str]:
        return [
            UNKNOWN if value is None else escaped(column.text(value))
            for column, value in zip(self.columns[: len(row)], row, strict=True)
        ]

    def _lines(self) -> list[list[str]]:
        return [
            [escaped(column.title) for column in self.columns],
            *self.cells,
            *([self.total_cells] if self.total else []),
        ]

    def text(self, width: int | None = None) -> list[str]:
        """Lines for a terminal, the note among them; where they would be over `width` characters wide, the columns
        that have no room follow below, the first one before them again."""
        lines = self._lines()
        first, *others = ([line[number] for line in lines] for number in range(len(self.columns)))
        sides = [column.left for column in self.columns]
        if width is not None and others:
            first = [textwrap.fill(cell, max(width // 2, 8)) for cell in first]
            room = width - _wide(first) - len(GAP)
            others = [[textwrap.fill(cell, max(room, 4)) for cell in column] for column in others]
        shown: list[str] = []
        while True:
            taken = _fitting([first, *others], width)
            shown += ([""] if shown else []) + _block([first, *others[:taken]], sides[: taken + 1])
            others, sides = others[taken:], [sides[0], *sides[taken + 1 :]]
            if not others:
                break
        note = textwrap.wrap(self.note, width) if width is not None else [self.note]
        return [*shown, *(note if self.note else [])]

    def markdown(self) -> str:
        header, *rows = (map(markdown_text, line) for line in self._lines())
        rule = ["---" if column.left else "---:" for column in self.columns]
        return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        header, *rows = self._lines()
        import pandas as pd

        alignment = "".join("l" if column.left else "r" for column in self.columns)
        dashes = [[cell.replace("–", "--") for cell in row] for row in rows]
        frame = pd.DataFrame(dashes, columns=header)
        return (
            frame.style.format(escape="latex")
            .format_index(escape="latex", axis=1)
            .hide(axis="index")
            .to_latex(column_format=alignment, hrules=True)
        )

    def csv(self) -> str:
        """The values as they are; an interval has a column for each of its ends."""
        return csv_of(self.frame())

    def frame(self) -> pd.DataFrame:
        """The values as a DataFrame, the columns of an interval called after the one before it."""
        import pandas as pd  # here, as a terminal's table does without

        values: dict[str, list[Any]] = {}
        before = ""
        for number, column in enumerate(self.columns):
            found = [row[number] for row in self.rows]
            if any(isinstance(value, tuple) for value in found):
                for end, name in enumerate(("low", "high")):
                    values[f"{before} {name}"] = [value and value[end] for value in found]
            else:
                values[column.title], before = found, column.title
        return pd.DataFrame(values)


def csv_of(frame: pd.DataFrame) -> str:
    """A DataFrame as a CSV file's text, for spreadsheets too."""
    safe = frame.map(csv_text).rename(columns=csv_text)
    return safe.to_csv(index=False, lineterminator="\n")


def _wide(column: Sequence[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _fitting(columns: Sequence[Sequence[str]], width: int | None) -> int:
    """How many columns after the first one there is room for; at least one, if there is one."""
    if width is None:
        return len(columns) - 1
    ends = list(itertools.accumulate(_wide(column) + len(GAP) for column in columns))
    return max(sum(end - len(GAP) <= width for end in ends[1:]), min(1, len(columns) - 1))


def _block(columns: Sequence[Sequence[str]], left: Sequence[bool]) -> list[str]:
    """Columns side by side; a cell of several lines takes as many."""
    widths = [_wide(column) for column in columns]
    shown = []
    for row in zip(*columns, strict=True):
        for parts in itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
            cells = zip(parts, widths, left, strict=True)
            line = (f"{part:<{width}}" if to_left else f"{part:>{width}}" for part, width, to_left in cells)
            shown.append(GAP.join(line).rstrip())
    return shown
