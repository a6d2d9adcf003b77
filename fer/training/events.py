"""What a training tells while it goes on, for whoever draws it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setup:
    """Something that takes a while before the first iteration."""

    message: str


@dataclass(frozen=True)
class Notice:
    """Something worth knowing that stops nothing."""

    text: str


@dataclass(frozen=True)
class Displayed:
    """A displayed iteration; rates count everything since the last one, tests too."""

    iteration: int
    max_iter: int
    loss: float
    lr: float
    images_per_second: float | None


@dataclass(frozen=True)
class Moved:
    """So many iterations are finished; told between the displayed ones."""

    iteration: int
    max_iter: int


@dataclass(frozen=True)
class Estimate:
    """How long the training will take from now on, tests included; told once, when some iterations have been timed."""

    seconds: float
    seconds_per_iteration: float
    seconds_per_epoch: float | None = None


@dataclass(frozen=True)
class Validation:
    """A finished test pass: its outputs by name, and which of them is the accuracy, "" where none is."""

    iteration: int
    outputs: dict[str, float]
    accuracy: str = ""


@dataclass(frozen=True)
class SnapshotSaved:
    """A snapshot that was verified and has its final name."""

    iteration: int
    path: Path


Tell = Callable[[object], None]
"""What is called with each event."""


def silent(_event: object) -> None:
    """For nobody."""
