"""Scores that are there already: whether they are still of the same weights, images, net and transform."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from fer.errors import FerError
from fer.runs.scores import MADE_OF, ScoresMeta, SnapshotScore, read_scores
from fer.system.records import NewerFormat, Record, read_record

R = TypeVar("R", bound=Record)


class Again:
    """What was scored again, by the reason."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def note(self, name: str, reason: str | None) -> None:
        if reason:
            self._names.setdefault(reason, []).append(name)

    def lines(self) -> list[str]:
        return [f"scored again: {', '.join(names)}: {reason}" for reason, names in self._names.items()]


def find_kept(path: Path, kind: type[R]) -> tuple[R | None, str | None]:
    """What was found before; None where it is missing, or damaged or edited (and why) and so found anew.

    Raises NewerFormat.
    """
    if not path.exists():
        return None, None
    try:
        return read_record(path, kind), None
    except NewerFormat:
        raise
    except FerError:
        return None, f"{path.name} was damaged or edited"


def is_kept(path: Path, wanted: ScoresMeta) -> tuple[bool, str | None]:
    """Whether a scores file is there, whole, made of the same, or why it is so no longer. Raises NewerFormat."""
    if not path.exists():
        return False, None
    try:
        found = read_scores(path)[1]
    except NewerFormat:
        raise
    except FerError:
        return False, "damaged or edited"
    if (found.weights, found.averaged, found.iteration) != (wanted.weights, wanted.averaged, wanted.iteration):
        return False, None  # another snapshot is wanted
    reason = difference(found, {name: getattr(wanted, name) for name in ("split", "ten_crop", "engine", *MADE_OF)})
    return reason is None, reason


def difference(found: SnapshotScore | ScoresMeta, wanted: Mapping[str, object]) -> str | None:
    """Which of the things that kept scores were made of are others now; None where none is."""
    if any(getattr(found, name) == "" for name in wanted):
        return "an older fer did not note what they were made from"
    others = [MADE_OF.get(name, f"the {name}") for name in wanted if getattr(found, name) != wanted[name]]
    return f"changed since: {', '.join(others)}" if others else None
