"""What `fer prepare` is asked for, and the ranges that its options may have."""

import re
from dataclasses import dataclass, field

from fer.data.classes import ClassTable
from fer.errors import UsageError

JPEG_QUALITY = (1, 100)
RESIZE = (8, 1024)
MAX_COPIES = 20


@dataclass(frozen=True)
class Affine:
    """How far a copy may be moved, to either side: `rotation` degrees, `shift` as a share of the image's side, and
    `scale` from 1 / (1 + scale) to 1 + scale times as large."""

    rotation: float = 15.0
    shift: float = 0.1
    scale: float = 0.1

    def check(self) -> None:
        """Raise UsageError for a range that cannot be."""
        for name, most in (("rotation", 180), ("shift", 1), ("scale", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"--{name} {getattr(self, name):g}: not from 0 to {most}")


@dataclass(frozen=True)
class PrepareOptions:
    """`resize` is the side of the databases' images; `title` what figures call data that is not FER2013.

    `augment` copies of each Training image, moved by `affine`, lie among them; the order of train is then shuffled.
    `classes` are entries of a ClassTable, none for those that the source has; `split` divides a source without splits,
    percent of train, val and test, and `group` is the regular expression whose first group in a file's name, or in its
    path where it has a slash, tells the person. `votes` is a file of them (see `fer.data.votes`), which decide the
    labels; images whose class has less than `min_votes` are left out.
    """

    jpeg_quality: int = 100
    resize: int | None = None
    encoded: bool = False
    shuffle: bool = False
    seed: int = 0
    drop_leaks: bool = False
    title: str | None = None
    augment: int = 0
    affine: Affine = field(default_factory=Affine)
    classes: tuple[str, ...] = ()
    split: tuple[int, ...] = ()
    group: str | None = None
    votes: str | None = None
    min_votes: int = 1

    def check(self) -> None:
        """Raise UsageError for a value out of range."""
        _check_range("--jpeg-quality", self.jpeg_quality, JPEG_QUALITY)
        if self.resize is not None:
            _check_range("--resize", self.resize, RESIZE)
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not a whole number from 0")
        _check_range("--augment", self.augment, (0, MAX_COPIES))
        self.affine.check()
        if self.classes:
            ClassTable.of(self.classes)
        if self.split and (len(self.split) != 3 or min(self.split) < 1 or sum(self.split) != 100):
            raise UsageError(
                f"--split {'/'.join(map(str, self.split))}: not three percentages over 0 that add up to 100"
            )
        if self.min_votes < 1 or (self.min_votes > 1 and self.votes is None):
            raise UsageError(f"--min-votes {self.min_votes}: from 1, with --votes FILE")
        if self.group is not None:
            self._check_group(self.group)

    def _check_group(self, group: str) -> None:
        if not self.split:
            raise UsageError("--group keeps a person's images in one split: give --split 80/10/10 with it.")
        try:
            groups = re.compile(group).groups
        except re.error as error:
            raise UsageError(f"--group {group}: not a regular expression: {error}") from None
        if not groups:
            raise UsageError(f"--group {group}: has no group: put what tells the person in brackets, as '^(S[0-9]+)_'")


def _check_range(name: str, value: int, limits: tuple[int, int]) -> None:
    least, most = limits
    if not least <= value <= most:
        raise UsageError(f"{name} {value}: not from {least} to {most}")
