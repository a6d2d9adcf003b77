"""A table of the report: written once, shown by the terminal, the page, and as Markdown, LaTeX or CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from fer.system.escapes import csv_text, escaped, markdown_text

UNKNOWN = "–"


@dataclass(frozen=True)
class Column:
    """`text` writes a value that is there; a column of words stands to the left, one of numbers to the right."""

    title: str
    text: Callable[[Any], str] = str
    left: bool = False


@dataclass(frozen=True)
class Table:
    """Values in rows, None where one is not known; `total` is a last row, which may be
    shorter. `note` says what the rows do not."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    total: tuple[Any, ...] = ()
    note: str = ""

    def first(self, count: int) -> "Table":
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

    def text(self) -> list[str]:
        """Lines for a terminal, the note among them."""
        lines = self._lines()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = [
            "  ".join(
                f"{cell:<{width}}" if column.left else f"{cell:>{width}}"
                for cell, width, column in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        ]
        return [*shown, *([self.note] if self.note else [])]

    def markdown(self) -> str:
        header, *rows = (map(markdown_text, line) for line in self._lines())
        rule = ["---" if column.left else "---:" for column in self.columns]
        return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *rows))

    def latex(self) -> str:
        """A tabular for the package booktabs."""
        header, *rows = self._lines()
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
