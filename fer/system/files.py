"""Files and directories written atomically, and on the disk when they are said to be."""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from fer.errors import FerError, Interrupted
from fer.system.locks import lock

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_FULL_DISK_BYTES = 2**20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WRITES_SECONDS = 10.0  # by when another process has written a file


class Busy(FerError):
    """Another process is at it."""


def open_regular(path: Path) -> BufferedReader:
    """A regular file, opened to be read; raises OSError for anything else, as a FIFO, which would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def cannot_read(path: Path, error: OSError) -> FerError:
    """The FerError for an OSError met while reading `path`."""
    return FerError(f"cannot read {path}: {error.strerror or error}")


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_writable(path: Path) -> bool:
    """Whether a file or folder lets itself be written, or made in the nearest folder above that is there."""
    there = whole = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return (there == whole or there.is_dir()) and os.access(there, os.W_OK)


def cannot_write(path: Path, error: OSError) -> FerError:
    """The FerError for an OSError met while writing `path`."""
    if error.errno in _NO_ROOM:
        return FerError(f"cannot write {path}: the disk is full ({error.strerror}). Make room, or write elsewhere")
    return FerError(f"cannot write {path}: {error.strerror or error}")


@contextlib.contextmanager
def told_full(directory: Path) -> Iterator[None]:
    """A FerError, or OSError, of what is to be written to a directory says so where a disk is full.

    Programs that others write for us tell of that in their own words, or not at all.
    """
    try:
        yield
    except Interrupted:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise cannot_write(directory, error) from error
    except FerError as error:
        full = [folder for folder in (directory.parent, Path(tempfile.gettempdir())) if is_full(folder)]
        if not full:
            raise
        reason = str(error).splitlines()[0]
        raise FerError(f"cannot write {directory}: the disk of {full[0]} is full. Make room\n{reason}") from error


def is_full(folder: Path) -> bool:
    """Whether the disk that holds a folder has no room left, for bytes or for files."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL_DISK_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, parents: bool = False) -> None:
    """Have `write` fill a file beside `path` (`parents`: in a new folder too), sync it, and give it its name.

    Raises FerError where it cannot; an older file then stays as it was.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path) as (name, stream):
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
            name.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: Path, data: bytes, *, parents: bool = False) -> None:
    """Write a file as `write_whole` does."""
    write_whole(path, lambda stream: stream.write(data), parents=parents)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes were writing into a folder, fer 0.1 included, which put its process number there."""
    for path in folder.glob(".?*.*"):
        number = path.name.rpartition(".")[2]
        old = number.isdecimal() and not Path("/proc", number).exists()
        with contextlib.suppress(OSError):
            if (number == "partial" or old) and (path.is_file() or path.is_symlink()):
                _left_and_removed(path)


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder for a while, among the system's temporary ones; those that killed processes have left go too."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            _remove_scratch(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_scratch(folder: Path) -> None:
    """Remove a folder of ours that nobody has locked for a minute, in which it may have been made."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid == os.getuid() and time.time() - found.st_mtime > 60 and lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A fresh file beside `path`, locked while it is written; at the end it goes unless it has got another name."""
    name = _partial(path)
    descriptor = _created(name)
    with os.fdopen(descriptor, "w+b") as stream:
        try:
            yield name, stream
        finally:
            with contextlib.suppress(OSError):  # the one that matters is on its way already
                if _is_open(name, descriptor):
                    name.unlink()


def check_free(out: Path, mark: str, what: str) -> None:
    """Raise FerError where a folder cannot be put to `out`: it is no name, or there already and neither empty nor one
    that holds the file `mark`, as `what` does."""
    _check_name(out)
    if out.exists() and not (out.is_dir() and ((out / mark).is_file() or not any(out.iterdir()))):
        raise FerError(f"{out} is there already and is no {what}: choose another --out, or remove it")


def _check_name(path: Path) -> None:
    """Raise FerError for what is no name of a file or folder to be written: ".", "..", "/"."""
    if path.name in ("", ".."):
        raise FerError(f"{path}: give a name for what is to be written, as {path / 'NAME'}")


def _partial(path: Path) -> Path:
    """Where a file or folder lies until it is whole."""
    _check_name(path)
    return path.with_name(f".{path.name}.partial")


def _created(name: Path) -> int:
    """A descriptor of a new file with its lock. What a killed process left of it goes; no link is followed."""
    give_up = time.monotonic() + _WRITES_SECONDS
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if not _left_and_removed(name):
                if time.monotonic() > give_up:
                    raise OSError(errno.EBUSY, "another process is writing it") from None
                time.sleep(0.01)
            continue
        if lock(descriptor) and _is_open(name, descriptor):
            return descriptor
        os.close(descriptor)


def _left_and_removed(name: Path) -> bool:
    """Remove an unfinished file; False where a process is writing it."""
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link, or gone
        name.unlink(missing_ok=True)
        return True
    try:
        if not lock(descriptor):
            return False
        if _is_open(name, descriptor):
            name.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacement(directory: Path) -> Iterator[Path]:
    """A fresh directory beside `directory` that takes its place when the block ends well, and vanishes when not.

    Raises FerError where it cannot be made or take the place, or where another process is making one.
    """
    with beside(directory, f"{directory}: another process is writing it. Wait for it") as fresh:
        yield fresh
        take_place(fresh, directory)


@contextlib.contextmanager
def beside(directory: Path, busy: str) -> Iterator[Path]:
    """A fresh directory beside `directory`, locked, and removed at the end unless it took the place.

    Raises FerError where it cannot be made, and one that says `busy` where another process has it. What a killed
    process left of it goes.
    """
    path = _partial(directory)
    try:
        descriptor = _opened(path, busy)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        try:
            for left in path.iterdir():
                _remove(left)
        except OSError as error:
            raise cannot_write(path, error) from None
        yield path
    finally:
        if _is_open(path, descriptor):
            shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _opened(path: Path, busy: str) -> int:
    """A descriptor of a folder, made where there is none, with its lock."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)  # what is emptied is ours
        except FileNotFoundError:  # its holder has just ended
            continue
        held = lock(descriptor)
        if held and _is_open(path, descriptor):
            return descriptor
        os.close(descriptor)
        if not held:
            raise Busy(busy)


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether a descriptor is of what is at the path now."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def take_place(new: Path, old: Path) -> None:
    """Make `new`, synced, be `old`, and remove what was there. Raises FerError where it cannot."""
    try:
        sync(new)
        if not old.exists():
            new.replace(old)
        else:
            _swap(new, old)
        sync(old.parent)
    except OSError as error:
        raise cannot_write(old, error) from None


def _swap(new: Path, old: Path) -> None:
    # Once it has the name of a fresh one, nobody may take the old one for that.
    descriptor = os.open(old, os.O_RDONLY)
    try:
        lock(descriptor)
        aside = new
        if not _exchange(new, old):
            aside = new.with_name(f"{new.name}-old")
            old.replace(aside)
            new.replace(old)
        _remove(aside)
    finally:
        os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one atomic step; False where the system or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))
