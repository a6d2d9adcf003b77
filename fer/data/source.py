"""Opening a source: which of FER2013's packages it is, and the stream of faces inside. Archives are never unpacked."""

import contextlib
import gzip
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from fer.data.csv_source import read_csv
from fer.data.dataset import Batch, Progress
from fer.data.folder_source import read_folders
from fer.data.image_file import is_image_name
from fer.errors import FerError
from fer.system.files import sha256
from fer.system.workers import Workers

_PREFERRED = ("fer2013.csv", "icml_face_data.csv")
_MAX_IMAGE_FILE = 64 << 20


@dataclass(frozen=True)
class SourceState:
    """What tells that a source is unchanged without reading it: size and newest change, in bytes and nanoseconds."""

    bytes: int
    mtime_ns: int


def source_state(path: Path) -> SourceState:
    """The state of a file, or of all the files in a folder. Raises FerError when it is not there."""
    try:
        if not path.is_dir():
            status = path.stat()
            return SourceState(status.st_size, status.st_mtime_ns)
        statuses = [file.stat() for file in _files_below(path)]
    except FileNotFoundError:
        raise FerError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    return SourceState(sum(s.st_size for s in statuses), max((s.st_mtime_ns for s in statuses), default=0))


def source_sha256(path: Path) -> str:
    """SHA-256 of a file, or for a folder of its sorted relative paths and their files' hashes, in hexadecimal."""
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for file in _files_below(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def read_source(path: Path, workers: Workers, *, seed: int = 0, progress: Progress | None = None) -> Iterator[Batch]:
    """The faces of `path` in the source's order, checked, as batches; `workers` parse them.

    `seed` splits the test images of a source without a validation part. Progress is told in bytes of the source.
    Raises FerError with the file, the row and the reason at the first fault, and for a truncated archive.
    """
    size = 0 if path.is_dir() else source_state(path).bytes
    for batch, done in _batches(path, workers, seed):
        if progress:
            progress("reading", done, max(size, done))
        yield batch


def is_folder_source(path: Path) -> bool:
    """Whether the source is images in class folders, which come sorted by class and so must be shuffled."""
    if path.is_dir():
        return True
    with _damage_explained(path), path.open("rb") as raw:
        kind = _kind(raw)
        if kind == "zip":
            with zipfile.ZipFile(raw) as archive:
                return _choose_csv(path, [info.filename for info in archive.infolist()]) is None
        if kind == "tar":
            with tarfile.open(fileobj=raw, mode="r|*") as archive:
                return _choose_csv(path, [member.name for member in archive if member.isfile()]) is None
    return False


def _batches(path: Path, workers: Workers, seed: int) -> Iterator[tuple[Batch, int]]:
    if path.is_dir():
        files = _files_below(path)
        names = [file.relative_to(path).as_posix() for file in files]
        yield from _counted(read_folders(names, lambda name: (path / name).read_bytes(), str(path), workers, seed))
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    with raw, _damage_explained(path):
        kind = _kind(raw)
        if kind == "zip":
            batches = _read_zip(raw, path, workers, seed)
        elif kind == "tar":
            batches = _read_tar(raw, path, workers, seed)
        elif kind == "gzip":
            batches = read_csv(cast(BinaryIO, gzip.GzipFile(fileobj=raw)), str(path), workers)
        else:
            batches = read_csv(raw, str(path), workers)
        for batch in batches:
            yield batch, raw.tell()


def _counted(batches: Iterable[Batch]) -> Iterator[tuple[Batch, int]]:
    done = 0
    for batch in batches:
        done += len(batch)
        yield batch, done


def _files_below(folder: Path) -> list[Path]:
    """All files below `folder`, sorted, but hidden ones and those in hidden folders."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return sorted(found)


def _kind(raw: BinaryIO) -> str:
    """`zip`, `tar` (packed or not), `gzip` or `plain`, by the bytes it begins with; `raw` is rewound."""
    head = raw.read(512)
    raw.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        inner = gzip.GzipFile(fileobj=raw).read(512)
        raw.seek(0)
        return "tar" if inner[257:262] == b"ustar" else "gzip"
    return "tar" if head[257:262] == b"ustar" or head.startswith((b"BZh", b"\xfd7zXZ")) else "plain"


@contextlib.contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
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


def _read_zip(raw: BinaryIO, path: Path, workers: Workers, seed: int) -> Iterator[Batch]:
    with zipfile.ZipFile(raw) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        table = _choose_csv(path, list(infos))
        if table:
            with archive.open(table) as stream:
                yield from read_csv(cast(BinaryIO, stream), f"{path}/{table}", workers)
            return

        def read(name: str) -> bytes:
            _check_member_size(path, name, infos[name].file_size)
            return archive.read(name)

        names = sorted(name for name in infos if not _is_hidden(name))
        yield from read_folders(names, read, str(path), workers, seed)


def _read_tar(raw: BinaryIO, path: Path, workers: Workers, seed: int) -> Iterator[Batch]:
    with tarfile.open(fileobj=raw, mode="r|*") as archive:
        names = [member.name for member in archive if member.isfile()]
    table = _choose_csv(path, names)
    raw.seek(0)
    # A packed tar can only be read forwards, so images come in the archive's order.
    with tarfile.open(fileobj=raw, mode="r|*") as archive:
        members = (member for member in archive if member.isfile() and not _is_hidden(member.name))
        if table:
            member = next(member for member in members if member.name == table)
            yield from read_csv(_extract(archive, member), f"{path}/{table}", workers)
            return
        visible = [name for name in names if not _is_hidden(name)]
        yield from read_folders(visible, _forward_reader(path, archive, members), str(path), workers, seed)


def _forward_reader(path: Path, archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo]) -> Callable[[str], bytes]:
    """A function that reads members by name, asked for in the archive's order."""

    def read(name: str) -> bytes:
        member = next(member for member in members if member.name == name)
        _check_member_size(path, name, member.size)
        return _extract(archive, member).read()

    return read


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    stream = archive.extractfile(member)
    if stream is None:
        raise FerError(f"{archive.name!r}: the archive's member '{member.name}' is not a file")
    return cast(BinaryIO, stream)


def _check_member_size(path: Path, name: str, size: int) -> None:
    if size > _MAX_IMAGE_FILE:
        raise FerError(f"{path}/{name}: an image of {size:,} bytes; more than {_MAX_IMAGE_FILE:,} are not read")
