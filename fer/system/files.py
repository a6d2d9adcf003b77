"""Files and directories written atomically, on the disk when they are said to be, and hashed."""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fer.errors import FerError
from fer.system.locks import lock

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises FerError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FerError(f"cannot read {path}: {error.strerror}") from error


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> FerError:
    """The FerError for an OSError met while writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FerError(f"cannot write {path}: the disk is full ({error.strerror}). Make room, or write elsewhere")
    return FerError(f"cannot write {path}: {error.strerror or error}")


def write_whole(path: Path, write: Callable[[Path], object], *, parents: bool = False) -> None:
    """Have `write` make a file beside `path` (`parents`: in a new folder too), sync it, and give it its name.

    Raises FerError where it cannot; an older file then stays as it was.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write(unfinished)
        sync(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # the one that matters is on its way already
            unfinished.unlink()


def write_bytes(path: Path, data: bytes, *, parents: bool = False) -> None:
    """Write a file as `write_whole` does."""
    write_whole(path, lambda unfinished: unfinished.write_bytes(data), parents=parents)


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
    path = directory.with_name(f".{directory.name}.partial")
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
            raise FerError(busy)


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
