"""Data directories to look at: their faces by split and class, and what the audit has found."""

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fer.data.manifest import MANIFEST, Manifest, read_manifest
from fer.data.suspects import Face, Suspects, find_suspects, read_index
from fer.errors import FerError


@dataclass(frozen=True)
class Place:
    """A data directory by the name that addresses of its images have."""

    key: str
    path: Path


def place_of(path: Path) -> Place:
    """The name is made of the path, which an address so need not hold."""
    return Place(hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12], path)


class Faces:
    """A data directory as it is; FerError, as of its parts, where it is none or damaged."""

    def __init__(self, place: Place):
        self.place = place
        self.manifest: Manifest = read_manifest(place.path)
        self._indexes: dict[str, list[Face]] = {}
        self._lock = threading.Lock()

    def index(self, split: str) -> list[Face]:
        """The images of a split, in order."""
        if split not in self.manifest.splits:
            raise FerError(f"{split!r}: no split of {self.place.path}")
        with self._lock:
            if split not in self._indexes:
                self._indexes[split] = read_index(self.place.path, split)
            return self._indexes[split]

    @cached_property
    def names(self) -> dict[str, frozenset[str]]:
        """What may be asked for, by split."""
        return {split: frozenset(face.name for face in self.index(split)) for split in self.manifest.splits}

    @cached_property
    def suspects(self) -> Suspects:
        """What the audit counts, as images."""
        return find_suspects(self.place.path)

    def image(self, split: str, name: str) -> Path | None:
        """The file of an image that an index lists, where it is one and lies in the data directory."""
        if name not in self.names.get(split, ()):
            return None
        path = self.place.path / split / name
        inside = path.resolve().is_relative_to(self.place.path.resolve())
        return path if inside and path.is_file() else None


class Library:
    """The data directories that are known: the one named, and those that runs were trained on."""

    def __init__(self, named: Path | None):
        self._named = named
        self._open: dict[str, tuple[int, Faces]] = {}
        self._lock = threading.Lock()

    def places(self, trained_on: Iterable[str]) -> list[Place]:
        """Those that are there, the one named first."""
        paths = [*([self._named] if self._named else []), *sorted({Path(path) for path in trained_on})]
        found = {place_of(path).key: place_of(path) for path in paths if (path / MANIFEST).is_file()}
        return list(found.values())

    def open(self, place: Place) -> Faces:
        """Read what is not read yet, and again where the directory was made anew. Raises FerError."""
        stamp = (place.path / MANIFEST).stat().st_mtime_ns if (place.path / MANIFEST).is_file() else 0
        with self._lock:
            known = self._open.get(place.key)
            if known is None or known[0] != stamp:
                known = self._open[place.key] = stamp, Faces(place)
            return known[1]
