"""Archives of faces, zip and tar: which of their members are FER2013's, and reading those. Nothing is extracted."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from fer.data.image_file import is_image_name
from fer.errors import FerError
from fer.system.progress import StageProgress

_PACKED: dict[bytes, Callable[[BinaryIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_BLOCK = 1 << 20
_PREFERRED = ("fer2013.csv", "icml_face_data.csv")
_MAX_IMAGE_FILE = 64 << 20


@dataclass(frozen=True)
class Archive:
    """An open archive: its CSV of faces, or None where it holds class folders, whose `images` are named in order."""

    path: Path
    table: str | None
    images: Sequence[str]
    open: Callable[[str], BinaryIO]
    size: Callable[[str], int]

    def read_image(self, name: str) -> bytes:
        """An image's file. Raises FerError where it is too large to be one."""
        size = self.size(name)
        if size > _MAX_IMAGE_FILE:
            raise FerError(
                f"{self.path}/{name}: an image of {size:,} bytes; more than {_MAX_IMAGE_FILE:,} are not read"
            )
        with self.open(name) as stream:
            return stream.read()


def kind_of(raw: BinaryIO) -> str:
    """`zip`, `tar`, `packed tar`, `gzip` or `plain`, by the bytes it begins with; `raw` is rewound."""
    head = raw.read(512)
    raw.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        inner = gzip.GzipFile(fileobj=raw).read(512)
        raw.seek(0)
        return "packed tar" if inner[257:262] == b"ustar" else "gzip"
    if head.startswith((b"BZh", b"\xfd7zXZ")):
        return "packed tar"
    return "tar" if head[257:262] == b"ustar" else "plain"


@contextlib.contextmanager
def open_zip(raw: BinaryIO, path: Path) -> Iterator[Archive]:
    """The zip file `raw`; `path` stands in messages. Raises FerError where it holds no faces."""
    with zipfile.ZipFile(raw) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        images = sorted(name for name in infos if not _is_hidden(name))

        def open_member(name: str) -> BinaryIO:
            return cast(BinaryIO, archive.open(name))

        yield Archive(path, _choose_csv(path, list(infos)), images, open_member, lambda name: infos[name].file_size)


@contextlib.contextmanager
def open_tar(raw: BinaryIO, path: Path) -> Iterator[Archive]:
    """The unpacked tar file `raw`; `path` stands in messages. Raises FerError where it holds no faces."""
    with tarfile.open(fileobj=raw, mode="r:") as archive:
        members = {member.name: member for member in archive if member.isfile()}

        def open_member(name: str) -> BinaryIO:
            return cast(BinaryIO, archive.extractfile(members[name]))

        images = [name for name in members if not _is_hidden(name)]
        yield Archive(path, _choose_csv(path, list(members)), images, open_member, lambda name: members[name].size)


@contextlib.contextmanager
def unpacked(raw: BinaryIO, size: int, folder: Path | None, progress: StageProgress | None) -> Iterator[BinaryIO]:
    """What is in the gzip, bzip2 or xz file `raw` of `size` bytes, decompressed once, to a nameless file in `folder`.

    Progress has the stage `unpacking` (bytes of `raw`).
    """
    head = raw.read(8)
    raw.seek(0)
    (unpack,) = (kind for magic, kind in _PACKED.items() if head.startswith(magic))
    with tempfile.TemporaryFile(dir=folder) as plain:
        with unpack(raw) as packed:
            while block := _read(packed):
                plain.write(block)
                if progress:
                    progress("unpacking", raw.tell(), size)
        plain.seek(0)
        yield cast(BinaryIO, plain)


def _read(packed: io.BufferedIOBase) -> bytes:
    try:
        return packed.read(_BLOCK)
    except OSError as error:
        if error.errno is not None:
            raise
        raise tarfile.ReadError(str(error)) from None  # bz2's word for damage


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Raise what an archive's damage raises as a FerError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.ReadError, lzma.LZMAError) as error:
        raise FerError(f"{path}: the archive is truncated or damaged ({error}). Download it again") from None
    except (NotImplementedError, RuntimeError) as error:
        if "password" not in str(error) and "compression" not in str(error):
            raise
        raise FerError(f"{path}: the archive cannot be read: {error}") from None


def _choose_csv(path: Path, names: list[str]) -> str | None:
    """The CSV among an archive's file names; None when it holds class folders. Raises FerError when it is neither."""
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name.partition("/")[0]:
            raise FerError(f"{path}: the archive's member '{name}' points outside of it: not read")
    files = [name for name in names if not _is_hidden(name)]
    tables = [name for name in files if name.lower().endswith(".csv")]
    for preferred in _PREFERRED:
        chosen = [name for name in tables if PurePosixPath(name).name.lower() == preferred]
        if chosen:
            return chosen[0]
    if len(tables) == 1:
        return tables[0]
    if any(is_image_name(name) for name in files):
        return None
    found = f"{len(tables)} CSV files, none of that name" if tables else "no CSV and no image"
    raise FerError(f"{path}: the archive holds {found}. Expected fer2013.csv, icml_face_data.csv, or class folders")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
