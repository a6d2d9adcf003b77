"""The images behind the counts of the audit: equal ones, labels that contradict each other, leaks, blanks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.data.dataset import SIDE, SPLITS, fingerprints
from fer.data.leaks import FINGERPRINTS, fingerprints_of
from fer.errors import FerError
from fer.formats.image_list import read_list

_COPY = re.compile(r"_[0-9]+\.jpg$")  # moved by --augment: none of the source's images


@dataclass(frozen=True)
class Face:
    """An image of a data directory: its split's folder, its name there, its label."""

    split: str
    name: str
    label: int


Group = tuple[Face, ...]


@dataclass(frozen=True)
class Suspects:
    """Groups of equal images; each kind but `blanks` is a part of `duplicates`.

    conflicts  those whose labels differ
    leaks      those that lie in more than one split
    blanks     all images of one single value, each group of one value
    """

    duplicates: tuple[Group, ...]
    conflicts: tuple[Group, ...]
    leaks: tuple[Group, ...]
    blanks: tuple[Group, ...]


def read_index(data_dir: Path, split: str) -> list[Face]:
    """The images of a split in order, moved copies among them. Raises FerError."""
    return [Face(split, each.name, each.label) for each in read_list(data_dir / f"{split}.txt")]


def find_suspects(data_dir: Path) -> Suspects:
    """Look through a data directory by its images' fingerprints.

    Raises FerError for files that are missing, damaged or do not fit each other.
    """
    faces: list[Face] = []
    digests = fingerprints_of(data_dir)
    for split in (each.folder for each in SPLITS):
        listed = [face for face in read_index(data_dir, split) if not _COPY.search(face.name)]
        if len(listed) != len(digests[split]):
            path = data_dir / FINGERPRINTS
            raise FerError(f"{path}: {len(digests[split]):,} images of {split}, whose index lists {len(listed):,}")
        faces += listed
    rows = np.concatenate([digests[split.folder] for split in SPLITS])
    groups = _groups(faces, rows)
    equal = tuple(group for group in groups.values() if len(group) > 1)
    return Suspects(
        duplicates=equal,
        conflicts=tuple(group for group in equal if len({face.label for face in group}) > 1),
        leaks=tuple(group for group in equal if len({face.split for face in group}) > 1),
        blanks=tuple(groups[key] for key in _blank_digests() if key in groups),
    )


def _groups(faces: Sequence[Face], digests: np.ndarray) -> dict[tuple[int, int], Group]:
    """The images by fingerprint, in their order."""
    found: dict[tuple[int, int], list[Face]] = {}
    for face, digest in zip(faces, map(tuple, digests.tolist()), strict=True):
        found.setdefault(digest, []).append(face)
    return {digest: tuple(group) for digest, group in found.items()}


def _blank_digests() -> list[tuple[int, int]]:
    """The fingerprints of the 256 images of one value."""
    blank = np.arange(256, dtype=np.uint8).repeat(SIDE * SIDE).reshape(256, SIDE, SIDE)
    return list(map(tuple, fingerprints(blank).tolist()))
