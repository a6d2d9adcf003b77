"""Votes on faces, as FER+ counts them: a row for each of the source's, a column for each class, `unknown` and `NF`."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer.data.classes import ClassTable, fold
from fer.data.csv_file import open_csv
from fer.data.csv_text import row_blocks
from fer.data.dataset import SPLITS, Batch
from fer.errors import FerError
from fer.system.escapes import some_names
from fer.system.plural import counted

NO_CLASS = ("unknown", "nf")
"""Columns of votes that are for no class, in small letters: of FER+ "cannot tell" and "not a face"."""
_ABOUT = ("usage", "image name")
_FILE = re.compile(r"fer([0-9]{7})\.png")
_WHOLE = re.compile(r"[0-9]{1,6}(\.0+)?")  # pandas writes 3.0
_ALIKE, _ENOUGH = 0.4, 50


@dataclass
class Votes:
    """The votes of a file.

    `counts` int64 [N, K] are for the classes of `table`, `others` int64 [N, M] for the columns `other_names`; `usages`
    are positions in SPLITS, uint8 [N], or None where the file does not tell.
    `targets` and `notes` come with `joined`: the shares of the classes of each face that is kept, float32 [n, K].
    """

    path: Path
    table: ClassTable
    counts: np.ndarray
    others: np.ndarray
    other_names: tuple[str, ...]
    usages: np.ndarray | None
    least: int = 1
    targets: list[np.ndarray] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def joined(self, batches: Iterable[Batch], source: Path, classes: Sequence[str]) -> Iterator[Batch]:
        """The faces of `batches`, row by row with the votes' majority as label; those without one are left out.

        `classes` are those of the source's own labels. Raises FerError where the rows cannot be the same ones.
        """
        labels, reasons = self._majority()
        known = np.array([found if (found := self.table.find(name)) is not None else -1 for name in classes])
        row = same = judged = 0
        for batch in batches:
            rows = slice(row, row + len(batch))
            row += len(batch)
            if row > len(labels):
                raise FerError(f"{source}: more than the {len(labels):,} rows of {self.path}: {_JOINED}")
            self._check_usages(batch, rows, source)
            mine, theirs = labels[rows], known[batch.labels]
            judged += int(((mine >= 0) & (theirs >= 0)).sum())
            same += int(((mine >= 0) & (mine == theirs)).sum())
            keep = mine >= 0
            self.targets.append(_shares(self.counts[rows][keep]))
            if keep.any():
                yield replace(
                    batch,
                    **{name: value[keep] for name, value in vars(batch).items() if name != "labels"},
                    labels=mine[keep].astype(np.uint8),
                )
        if row < len(labels):
            raise FerError(f"{source}: {row:,} rows, where {self.path} has {len(labels):,}: {_JOINED}")
        if judged >= _ENOUGH and same < _ALIKE * judged:
            raise FerError(
                f"{self.path}: the votes agree with the labels of {source} in {same:,} of {judged:,} rows, hardly more "
                f"than by chance: {_JOINED}"
            )
        self._note(reasons, same, judged)

    def _majority(self) -> tuple[np.ndarray, Counter[str]]:
        """The class of each row, int64 [N], -1 where there is none; and how many are left out for which reason."""
        votes = np.concatenate([self.counts, self.others], axis=1)
        most = votes.max(axis=1, initial=0)
        winner = votes.argmax(axis=1)
        tied = (votes == most[:, np.newaxis]).sum(axis=1) > 1
        classes = self.counts.shape[1]
        reasons: Counter[str] = Counter()
        labels = winner.copy()
        left = np.zeros(len(votes), bool)
        for reason, out in (
            ("without a vote", most == 0),
            ("with equal votes for two", tied),
            *((f"mostly {name}", winner == classes + k) for k, name in enumerate(self.other_names)),
            (f"with less than {self.least} votes for one class", most < self.least),
        ):
            reasons[reason] = int((out & ~left).sum())
            left |= out
        labels[left] = -1
        return labels, reasons

    def _check_usages(self, batch: Batch, rows: slice, source: Path) -> None:
        if self.usages is None or not (different := np.flatnonzero(self.usages[rows] != batch.splits)).size:
            return
        row = int(different[0])
        mine, theirs = SPLITS[self.usages[rows][row]].value, SPLITS[batch.splits[row]].value
        raise FerError(f"{self.path}: row {rows.start + row + 1} is {mine}, and of {source} {theirs}: {_JOINED}")

    def _note(self, reasons: Counter[str], same: int, judged: int) -> None:
        if left := sum(reasons.values()):
            each = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
            self.notes.append(f"left out by the votes: {counted(left, 'image')} ({each})")
        if judged:
            of = f"{same / judged:.1%} of {judged:,} images"
            self.notes.append(f"the votes' majority is the source's own label in {of}")


_JOINED = "votes are joined row by row, to Kaggle's fer2013.csv or icml_face_data.csv in its own order, whole"


def _shares(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def read_votes(path: Path, table: ClassTable | None, least: int) -> Votes:
    """The votes of a CSV, which may be packed: whole numbers in columns that are called as the classes are.

    The classes are those of `table`, or else all columns but `unknown` and `NF`, in their order. Raises FerError with
    the line and the reason for what is no such file.
    """
    try:
        with open_csv(path) as (stream, _):
            text = b"\n".join(row_blocks(stream, str(path))).decode()
    except UnicodeDecodeError:
        raise FerError(f"{path}: not text in UTF-8") from None
    first = text.partition("\n")[0]
    rows = _rows(path, csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)))
    header = [name.strip() for name in next(rows, [])]
    about = {fold(name): place for place, name in enumerate(header) if fold(name) in _ABOUT}
    if not any(header):
        raise FerError(f"{path}: the file is empty")
    columns = [place for place, name in enumerate(header) if fold(name) not in _ABOUT and name]
    table = table or _table(path, [header[place] for place in columns if fold(header[place]) not in NO_CLASS])
    labels = {place: found for place in columns if (found := table.find(header[place])) is not None}
    if missing := [name for label, name in enumerate(table.names) if list(labels.values()).count(label) != 1]:
        raise FerError(f"{path}:1: not one column of votes for {some_names(missing)}; it has {some_names(header)}")
    votes, usages = _numbers(path, rows, header, columns, about)
    if not len(votes):
        raise FerError(f"{path}: there is a header and no row behind it")
    order = [columns.index(place) for place, _ in sorted(labels.items(), key=lambda each: each[1])]
    rest = [k for k, place in enumerate(columns) if place not in labels]
    names = tuple(header[columns[k]] for k in rest)
    return Votes(path, table, votes[:, order], votes[:, rest], names, usages, least)


def _rows(path: Path, rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """The rows of a CSV. Raises FerError for one that is none."""
    try:
        yield from rows
    except csv.Error as error:
        raise FerError(f"{path}: {error}; is a quotation mark left open?") from None


def _table(path: Path, names: Sequence[str]) -> ClassTable:
    try:
        return ClassTable.named(names)
    except ValueError as error:
        raise FerError(f"{path}:1: columns as classes: {error}") from None


def _numbers(
    path: Path, rows: Iterator[list[str]], header: Sequence[str], columns: Sequence[int], about: dict[str, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The votes int64 [N, columns], and the positions in SPLITS that the column Usage tells, uint8 [N]."""
    usages = {split.value: place for place, split in enumerate(SPLITS)}
    votes: list[list[int]] = []
    splits: list[int] = []
    for number, fields in enumerate(rows, 2):
        if not any(fields):
            continue
        where = f"{path}:{number}"
        if len(fields) != len(header):
            raise FerError(f"{where}: {len(fields)} columns, where the header has {len(header)}")
        counted = [fields[place].strip() for place in columns]
        for place, text in zip(columns, counted, strict=True):
            if not _WHOLE.fullmatch(text):
                raise FerError(f"{where}: {header[place]} {text[:40]!r} is not a whole number of votes")
        if "usage" in about:
            usage = fields[about["usage"]].strip()
            if usage not in usages:
                raise FerError(f"{where}: Usage {usage[:40]!r} is not one of {', '.join(usages)}")
            splits.append(usages[usage])
        file = _FILE.fullmatch(fields[about["image name"]].strip()) if "image name" in about else None
        if file and int(file[1]) != len(votes):
            raise FerError(f"{where}: {file[0]} in row {len(votes)} from 0: rows are missing or in another order")
        votes.append([int(text.partition(".")[0]) for text in counted])
    return np.array(votes, np.int64).reshape(len(votes), len(columns)), np.array(splits, np.uint8) if splits else None
