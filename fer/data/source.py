"""Opening a source: which of FER2013's packages it is, and the stream of faces inside."""

import contextlib
import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from fer.data.archive import Archive, damage_explained, kind_of, open_tar, open_zip, unpacked
from fer.data.csv_source import read_csv
from fer.data.dataset import Batch
from fer.data.folder_source import read_folders
from fer.errors import FerError
from fer.system.files import sha256
from fer.system.progress import StageProgress
from fer.system.workers import Workers


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


@dataclass(frozen=True)
class Faces:
    """An open source: its faces in order, checked, as batches, and whether they are images in class folders, which
    come sorted by class and so must be shuffled."""

    batches: Iterator[Batch]
    in_folders: bool


@contextlib.contextmanager
def open_source(
    path: Path, workers: Workers, *, seed: int = 0, progress: StageProgress | None = None, scratch: Path | None = None
) -> Iterator[Faces]:
    """The faces of `path`, which `workers` parse.

    `seed` splits the test images of a source without a validation part. Progress is told in bytes of the source, or
    images of a folder. A packed tar is unpacked to a nameless file in the folder `scratch` (by default the system's for
    temporary files). Raises FerError with the file, the row and the reason at the first fault, and for a truncated
    archive.
    """
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in _files_below(path)]
        batches = read_folders(names, lambda name: (path / name).read_bytes(), str(path), workers, seed)
        yield Faces(_counted(batches, progress), True)
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(damage_explained(path))
        size = os.fstat(stack.enter_context(raw).fileno()).st_size
        stream: BinaryIO = raw
        kind = kind_of(raw)
        if kind == "packed tar":
            stream = stack.enter_context(unpacked(raw, size, scratch, progress))
            size = os.fstat(stream.fileno()).st_size
        if kind in ("zip", "tar", "packed tar"):
            archive = stack.enter_context((open_zip if kind == "zip" else open_tar)(stream, path))
            batches, in_folders = _read_archive(archive, workers, seed), archive.table is None
        else:
            lines = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if kind == "gzip" else raw
            batches, in_folders = read_csv(lines, str(path), workers), False
        yield Faces(_followed(batches, stream, size, progress), in_folders)


def _read_archive(archive: Archive, workers: Workers, seed: int) -> Iterator[Batch]:
    if archive.table is None:
        yield from read_folders(archive.images, archive.read_image, str(archive.path), workers, seed)
        return
    with archive.open(archive.table) as stream:
        yield from read_csv(stream, f"{archive.path}/{archive.table}", workers)


def _followed(batches: Iterable[Batch], stream: BinaryIO, size: int, progress: StageProgress | None) -> Iterator[Batch]:
    for batch in batches:
        if progress:
            progress("reading", stream.tell(), size)
        yield batch


def _counted(batches: Iterable[Batch], progress: StageProgress | None) -> Iterator[Batch]:
    done = 0
    for batch in batches:
        done += len(batch)
        if progress:
            progress("reading", done, done)
        yield batch


def _files_below(folder: Path) -> list[Path]:
    """All files below `folder`, sorted, but hidden ones and those in hidden folders."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return sorted(found)
