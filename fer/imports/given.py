"""The files that a user gives for a training: single ones, those below a folder, the members of an archive."""

import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from fer.data.archive import check_tar_end, damage_explained, open_packed, packing_of, tar_members, unpacked
from fer.data.image_file import is_image_name
from fer.data.source_kind import is_hidden_path, kind_not_read
from fer.errors import FerError
from fer.nets.zoo import file_name
from fer.system.files import cannot_read, cannot_write
from fer.system.folders import contents

NEVER_OPENED = (".pickle", ".pkl")
"""A pickle is code that would be run; DIGITS keeps its job's status in one."""
_OTHERS = (".npz", ".mdb", ".ldb", ".sst", ".csv", ".py", ".pyc", ".sh", ".pdf", ".html", ".mp4", ".ipynb")
_MOST_BYTES = 4 << 30  # of a member: a .caffemodel is a protobuf message, of 2 GiB at most
_MOST_FILES = 20_000
_BLOCK = 1 << 20
_HEAD = 512
_READ_HERE = ("an HDF5 file", "a NumPy array")


@dataclass(frozen=True)
class GivenFile:
    """A file at `path`; `name` is what the user knows it by: "job.tar.gz/deploy.prototxt"."""

    path: Path
    name: str

    @property
    def base(self) -> str:
        """Its name without folders, as the other files of a training speak of it."""
        return PurePosixPath(self.name).name

    @property
    def folder(self) -> PurePosixPath:
        """Where it lies, as the user knows it."""
        return PurePosixPath(self.name).parent

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Errors from within name the file as the user knows it."""
        try:
            yield
        except FerError as error:
            raise FerError(str(error).replace(str(self.path), self.name)) from None

    def beside(self, named: str) -> "GivenFile | None":
        """The file that this one names by a path: seen from here, as Caffe reads it, or from the folder of this one.

        None where there is none, and for what an archive's members name.
        """
        plain = PurePosixPath(named.replace("\\", "/"))
        if str(self.path) != self.name or not plain.name:
            return None
        folder = self.path.parent
        found = next((path for path in (Path(plain), folder / plain, folder / plain.name) if path.is_file()), None)
        return GivenFile(found, str(found)) if found else None


@dataclass
class Given:
    """All files that may be parts of a training; `unopened` says which are not looked into, and why."""

    files: list[GivenFile] = field(default_factory=list)
    unopened: list[str] = field(default_factory=list)

    def add(self, file: GivenFile) -> None:
        """Take a file, but for one that packs others, or is of another kind."""
        if reason := _not_opened(file.path):
            self.unopened.append(f"{file.name}: {reason}")
        else:
            self.files.append(file)

    def leave_closed(self, name: str) -> None:
        self.unopened.append(f"{name}: a pickle is code")


def _not_opened(path: Path) -> str | None:
    """Why a file is not looked into: it packs others, or is of a kind that is not read."""
    try:
        with path.open("rb") as raw:
            head = raw.read(_HEAD)
            raw.seek(0)
            packed = packing_of(raw) != "plain"
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.ReadError):
        packed = True
    except OSError as error:
        raise cannot_read(path, error) from error
    if packed:
        return "an archive in what was given: give its own path, or unpack it"
    other = kind_not_read(head)
    return None if other and other.startswith(_READ_HERE) else other


def given_files(paths: Sequence[Path], scratch: Path) -> Given:
    """What `paths` hold; the members of archives are unpacked into the folder `scratch`.

    Raises FerError for a path that is not there or cannot be read, and for a damaged archive or one of names that lead
    out of it.
    """
    given = Given()
    for number, path in enumerate(paths):
        if path.is_dir():
            _look_into(path, given)
        elif path.name.lower().endswith(NEVER_OPENED):
            given.leave_closed(str(path))
        elif path.is_file():
            _open(path, scratch / str(number), given)
        else:
            raise FerError(f"{path}: {'not a file or folder' if path.exists() else 'no such file or folder'}")
    return given


def _may_be_part(name: str) -> bool:
    return not is_image_name(name) and not name.lower().endswith(_OTHERS) and not is_hidden_path(name)


def _look_into(folder: Path, given: Given) -> None:
    found = contents(folder)
    for path, reason in found.unreadable.items():
        raise FerError(f"{path}: cannot be read: {reason}")
    for file in found.files:
        if file.name.lower().endswith(NEVER_OPENED):
            given.leave_closed(str(file))
        elif _may_be_part(file.name):
            given.add(GivenFile(file, str(file)))


def _open(path: Path, folder: Path, given: Given) -> None:
    """Take a file as it is, or what it packs."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise cannot_read(path, error) from error
    with raw, damage_explained(path), contextlib.ExitStack() as stack:
        kind = packing_of(raw)
        if kind == "plain":
            if reason := _not_opened(path):
                raise FerError(f"{path}: {reason}")
            given.add(GivenFile(path, str(path)))
            return
        if kind == "packed":
            name = path.name.removesuffix(path.suffix)
            _unpack(open_packed(raw), name, f"{path}/{name}", folder, given)
            return
        if kind == "zip":
            members = _of_zip(stack.enter_context(zipfile.ZipFile(raw)))
        else:
            size = os.fstat(raw.fileno()).st_size
            stream = stack.enter_context(unpacked(raw, size, None, None)) if kind == "packed tar" else raw
            members = _of_tar(stack.enter_context(tarfile.open(fileobj=stream, mode="r:")), stream)
        for number, (name, member) in enumerate(members):
            if number >= _MOST_FILES:
                raise FerError(f"{path}: more than {_MOST_FILES:,} files; a training has a few: unpack those")
            if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
                raise FerError(f"{path}: the archive's member '{name}' points outside of it: not read")
            if name.lower().endswith(NEVER_OPENED):
                given.leave_closed(f"{path}/{name}")
            elif _may_be_part(name):
                with member() as stream:
                    _unpack(stream, PurePosixPath(name).name, f"{path}/{name}", folder / str(number), given)


def _of_zip(archive: zipfile.ZipFile) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    for info in archive.infolist():
        if not info.is_dir():
            yield info.filename, partial(_of_archive, archive.open, info)


def _of_tar(archive: tarfile.TarFile, raw: BinaryIO) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    members, _ = tar_members(archive)
    check_tar_end(raw, archive.offset)
    for name, member in members.items():
        yield name, partial(_of_archive, archive.extractfile, member)


def _of_archive(open_member: Callable[[Any], Any], member: object) -> BinaryIO:
    return cast(BinaryIO, open_member(member))


def _unpack(stream: BinaryIO, base: str, name: str, folder: Path, given: Given) -> None:
    """Write what a stream holds into a folder of its own, under a name that leads nowhere else."""
    path = folder / file_name(base)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        out = path.open("wb")
    except OSError as error:
        raise cannot_write(path, error) from error
    with out:
        shutil.copyfileobj(_Limited(stream, name), out, _BLOCK)
    given.add(GivenFile(path, name))


class _Limited:
    """A stream that is refused once it gives more than any part of a training has."""

    def __init__(self, stream: BinaryIO, name: str):
        self._stream, self._name, self._left = stream, name, _MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise FerError(f"{self._name}: larger than {_MOST_BYTES >> 30} GiB, which no part of a training is")
        return data
