"""Files and directories that are there whole or not at all, on the disk when they are said to be, and hashed."""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fer.errors import FerError

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
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        sync(beside)
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # the one that matters is on its way already
            beside.unlink()


def write_bytes(path: Path, data: bytes, *, parents: bool = False) -> None:
    """Write a file as `write_whole` does."""
    write_whole(path, lambda beside: beside.write_bytes(data), parents=parents)


@contextlib.contextmanager
def replacement(directory: Path) -> Iterator[Path]:
    """A fresh directory beside `directory` that takes its place when the block ends well, and vanishes when not.

    Raises FerError where it cannot be made, or cannot take the place.
    """
    partial = directory.with_name(f".{directory.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(partial, error) from None
    try:
        yield partial
        try:
            sync(partial)
            _take_place(partial, directory)
        except OSError as error:
            raise cannot_write(directory, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(directory: Path) -> None:
    """Remove what killed processes left of replacements of `directory`; for one who knows that no other writes it."""
    for left in directory.parent.glob(f".{directory.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def _take_place(new: Path, old: Path) -> None:
    """Make `new` be `old`; what was there, if anything, is `new` afterwards."""
    if not old.exists():
        new.replace(old)
    elif not _exchange(new, old):
        aside = new.with_name(new.name + "-old")
        old.replace(aside)
        new.replace(old)
        aside.replace(new)
    sync(old.parent)


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
