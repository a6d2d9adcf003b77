"""`manifest.json`: what a data directory is made of, and what it holds."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from fer.data.dataset import SPLITS
from fer.data.options import PrepareOptions
from fer.errors import FerError
from fer.system.records import check_inside, read_record
from fer.system.shell import command

MANIFEST = "manifest.json"

Count = Annotated[int, Meta(ge=0)]
Side = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Source:
    """Where the faces are from; a folder's hash is of its files' names and hashes."""

    path: str
    sha256: str
    bytes: Count
    mtime_ns: int


@dataclass(frozen=True)
class ImageSize:
    """Of the databases' images."""

    channels: Side
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class SplitCounts:
    """A split's images, and those of each class."""

    count: Count
    class_counts: tuple[Count, ...]


@dataclass(frozen=True)
class Audit:
    """What `fer.data.audit.audit` counted in the whole source; of each split by its folder's name."""

    images: Count
    class_counts: dict[str, tuple[Count, ...]]
    unique: Count
    duplicate_groups: Count
    conflicting_groups: Count
    repeats_within: dict[str, Count]
    val_in_train: Count
    test_in_train: Count
    test_in_val: Count
    train_leaked: Count
    blank: dict[str, Count]


@dataclass(frozen=True)
class WrittenFolder:
    """The JPG files of a split: count, bytes, and the SHA-256 of their SHA-256s in the index's order."""

    count: Count
    bytes: Count
    sha256: str


@dataclass(frozen=True)
class WrittenFile:
    """A file as it was written."""

    sha256: str
    bytes: Count


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. By split folder: `splits`, `images`; by path in the data directory: `files`.

    `notes` are sentences on what of the source was left out, and how the rest was fitted; `votes` is the file of them
    that has decided the labels.
    """

    FORMAT: ClassVar[int] = 1

    fer_version: str
    source: Source
    options: PrepareOptions
    image: ImageSize
    classes: tuple[str, ...]
    splits: dict[str, SplitCounts]
    images: dict[str, WrittenFolder]
    files: dict[str, WrittenFile]
    title: str | None = None
    created: str = ""
    shuffled: bool = False
    audit: Audit | None = None
    dropped: Count = 0
    copies: Count = 0
    notes: tuple[str, ...] = ()
    votes: Source | None = None
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Raises ValueError for parts that do not fit each other, and names that lead out of the data directory."""
        for name in (*self.files, *self.images):
            check_inside(name)
        for split in (each.folder for each in SPLITS):
            if split not in self.splits:
                raise ValueError(f"splits: no {split}")
            if len(self.splits[split].class_counts) != len(self.classes):
                raise ValueError(f"splits.{split}.class_counts: not one for each of the classes")


def read_manifest(data_dir: Path) -> Manifest:
    """`manifest.json` of a data directory. Raises FerError when there is none of `fer prepare`'s, or it is damaged."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise FerError(
            f"{data_dir}: no such data directory. `{command('fer', 'prepare', 'SOURCE', '--out', data_dir)}` makes it"
        )
    path = data_dir / MANIFEST
    if not path.exists():
        raise FerError(f"{data_dir}: not a data directory: it has no {MANIFEST}. `fer prepare SOURCE` makes one")
    return read_record(path, Manifest, "`fer prepare SOURCE --force` makes it again")


def is_prepared(data_dir: Path) -> bool:
    """Whether a folder has a manifest of `fer prepare`'s, damaged or newer though it may be."""
    try:
        manifest = json.loads((data_dir / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and "fer_version" in manifest
