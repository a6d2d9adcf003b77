"""Opening a source: which of FER2013's packages it is, and the stream of faces inside."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fer.data.archive import damage_explained, kind_of, open_packed, open_tar, open_zip, unpacked
from fer.data.classes import SEVEN, ClassTable
from fer.data.csv_source import read_csv
from fer.data.dataset import Batch
from fer.data.folder_source import ClassFolders, some
from fer.data.image_file import check_file_size
from fer.data.source_kind import choose_csv
from fer.errors import FerError
from fer.system.folders import Contents, contents
from fer.system.hashes import file_hash
from fer.system.progress import StageProgress
from fer.system.workers import Workers


@dataclass(frozen=True)
class SourceState:
    """What tells that a source is unchanged without reading it: size and newest change, in bytes and nanoseconds."""

    bytes: int
    mtime_ns: int


def source_state(path: Path) -> SourceState:
    """The state of a file, or of all the files in a folder. Raises FerError when it is not there, or no file."""
    try:
        if not path.is_dir():
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise FerError(f"{path}: neither a file nor a folder")
            return SourceState(status.st_size, status.st_mtime_ns)
        statuses = [file.stat() for file in _readable(path).files]
    except FileNotFoundError:
        raise FerError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    return SourceState(sum(s.st_size for s in statuses), max((s.st_mtime_ns for s in statuses), default=0))


def _readable(folder: Path) -> Contents:
    """What lies below a folder. Raises FerError where a part of it cannot be looked into."""
    found = contents(folder)
    for path, reason in found.unreadable.items():
        raise FerError(f"{path}: cannot be read: {reason}")
    return found


def source_sha256(path: Path) -> str:
    """SHA-256 of a file, or for a folder of its sorted relative paths and their files' hashes, in hexadecimal."""
    if not path.is_dir():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in _readable(path).files:
        digest.update(os.fsencode(file.relative_to(path)) + f"\0{file_hash(file)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Faces:
    """An open source: its faces in order, checked, as batches, and whether they are images in class folders, which
    come sorted by class and so must be shuffled.

    `notes` are sentences on what was left out and what was done with the rest; complete when all batches were taken.
    `classes` are the names of the labels; `names` those of the images' files, in order, where they are files.
    """

    batches: Iterator[Batch]
    in_folders: bool
    notes: list[str]
    classes: tuple[str, ...]
    names: list[str] | None = None


@dataclass(frozen=True)
class Reading:
    """How a source is read: its classes where they are not FER2013's or the folders' own; `divided`, it has splits.

    `seed` halves the test images of class folders without a validation part, or the reverse.
    """

    seed: int = 0
    table: ClassTable | None = None
    divided: bool = True


AS_IT_IS = Reading()


@contextlib.contextmanager
def open_source(
    path: Path,
    workers: Workers,
    reading: Reading = AS_IT_IS,
    *,
    progress: StageProgress | None = None,
    scratch: Path | None = None,
) -> Iterator[Faces]:
    """The faces of `path`, which `workers` parse.

    Progress has the stages `unpacking` and `reading`, in bytes of the source, or `decoding`, in images of class
    folders. A packed tar is unpacked to a nameless file in the folder `scratch` (by default the system's for temporary
    files). Raises FerError with the file, the row and the reason at the first fault, and for a truncated archive.
    """
    if path.is_dir():
        yield from _open_folder(path, workers, reading, progress)
        return
    try:
        raw = path.open("rb")
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(damage_explained(path))
        size = os.fstat(stack.enter_context(raw).fileno()).st_size
        stream: BinaryIO = raw
        kind = kind_of(raw, path)
        table: BinaryIO = raw
        name = str(path)
        if kind == "packed tar":
            stream = stack.enter_context(unpacked(raw, size, scratch, progress))
            size = os.fstat(stream.fileno()).st_size
        if kind in ("zip", "tar", "packed tar"):
            archive = stack.enter_context((open_zip if kind == "zip" else open_tar)(stream, path))
            if archive.table is None:
                folders = _class_folders(archive.names, path, archive.odd, archive.hidden, reading)
                yield _faces(folders, archive.read_image, workers, progress)
                return
            table, name = archive.open(archive.table), f"{path}/{archive.table}"
            stack.enter_context(table)
        elif kind == "packed":
            table = open_packed(raw)
        classes = reading.table or SEVEN
        batches = read_csv(table, name, workers, classes, divided=reading.divided)
        yield Faces(_followed(batches, stream, size, progress), False, [], classes.names)


def _open_folder(path: Path, workers: Workers, reading: Reading, progress: StageProgress | None) -> Iterator[Faces]:
    """The faces of class folders, or of the CSV that lies in a folder."""
    found = _readable(path)
    names = [file.relative_to(path).as_posix() for file in found.files]
    table = choose_csv(path, names, "the folder")
    if table is None:
        odd = {str(file.relative_to(path)): kind for file, kind in found.odd.items()}
        folders = _class_folders(names, path, odd, found.hidden, reading)
        yield _faces(folders, lambda name: _read_image(path / name), workers, progress)
        return
    with open_source(path / table, workers, reading, progress=progress) as faces:
        yield faces


def _faces(
    folders: ClassFolders, read: Callable[[str], bytes], workers: Workers, progress: StageProgress | None
) -> Faces:
    return Faces(folders.read(read, workers, progress), True, folders.notes, folders.classes, folders.names)


def _read_image(path: Path) -> bytes:
    check_file_size(path.stat().st_size)
    return path.read_bytes()


def _class_folders(
    names: Sequence[str], path: Path, odd: Mapping[str, str], hidden: int, reading: Reading
) -> ClassFolders:
    folders = ClassFolders(names, str(path), reading.seed, reading.table, divided=reading.divided)
    if odd:
        folders.notes.append(f"left out: {some([f'{name} ({kind})' for name, kind in odd.items()], 10)}")
    if hidden:
        folders.notes.append(f"left out, as hidden: {hidden:,} (.DS_Store, Thumbs.db, names that begin with a dot)")
    return folders


def _followed(batches: Iterable[Batch], stream: BinaryIO, size: int, progress: StageProgress | None) -> Iterator[Batch]:
    for batch in batches:
        if progress:
            progress("reading", stream.tell(), size)
        yield batch
