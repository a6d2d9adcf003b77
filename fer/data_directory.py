"""The data directory on disk: its lock, its manifest, and how a new one takes an old one's place."""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fer.database import full_disk
from fer.dataset import SPLITS
from fer.errors import FerError

MANIFEST = "manifest.json"
FORMAT = 1
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_path(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, text: str) -> None:
    """Write a text file and fsync it. Raises FerError when the disk is full."""
    try:
        with path.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise full_disk(path, error) from None


def read_manifest(data_dir: Path) -> dict:
    """`manifest.json` of a data directory. Raises FerError when there is none of `fer prepare`'s, or it is damaged."""
    data_dir = Path(data_dir)
    path = data_dir / MANIFEST
    if not data_dir.is_dir():
        raise FerError(f"{data_dir}: no such data directory. `fer prepare SOURCE --out {data_dir}` makes it")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FerError(
            f"{data_dir}: not a data directory: it has no {MANIFEST}. `fer prepare SOURCE` makes one"
        ) from None
    except OSError as error:
        raise FerError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise FerError(f"{path}: damaged: not JSON. `fer prepare --force` makes it again") from None
    required = {"fer_version", "format", "source", "options", "image", "classes", "splits", "images", "files"}
    if not isinstance(manifest, dict) or not required <= manifest.keys():
        raise FerError(f"{path}: not written by `fer prepare`. `fer prepare SOURCE` makes a data directory")
    if manifest["format"] != FORMAT:
        raise FerError(
            f"{path}: of format {manifest['format']}, where this fer reads {FORMAT}. "
            "`fer prepare --force` makes it again"
        )
    return manifest


def verify_data(data_dir: Path, *, full: bool = False) -> dict:
    """Check that a data directory is as it was written, and return its manifest.

    Compares the size of every database, index and mean, and the number and total size of the images; with `full`
    also the SHA-256 of all but the images. Raises FerError that names what changed.
    """
    data_dir = Path(data_dir)
    manifest = read_manifest(data_dir)
    cure = f"`fer prepare --force --out {data_dir}` makes it again"
    for name, written in manifest["files"].items():
        path = data_dir / name
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            raise FerError(f"{path}: missing. {cure}")
        if size != written["bytes"]:
            raise FerError(f"{path}: {size:,} bytes, where {written['bytes']:,} were written. {cure}")
        if full and sha256_file(path) != written["sha256"]:
            raise FerError(f"{path}: changed since it was written (SHA-256 differs). {cure}")
    for folder, written in manifest["images"].items():
        count, size = _folder_size(data_dir / folder)
        if (count, size) != (written["count"], written["bytes"]):
            raise FerError(
                f"{data_dir / folder}: {count:,} files of {size:,} bytes, "
                f"where {written['count']:,} of {written['bytes']:,} were written. {cure}"
            )
    return manifest


def _folder_size(folder: Path) -> tuple[int, int]:
    """(number of files, sum of their sizes) directly in `folder`; (0, 0) when there is none."""
    count = size = 0
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                size += entry.stat().st_size
    return count, size


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold `.<name>.lock` beside the data directory. Raises FerError when another process holds it."""
    path = data_dir.parent / f".{data_dir.name}.lock"
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise full_disk(path, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FerError(
                f"{data_dir}: another `fer prepare` is writing it. Wait for it, or choose another --out"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacement(data_dir: Path) -> Iterator[Path]:
    """A fresh directory beside `data_dir` that takes its place when the block ends well, and vanishes when not.

    To be used under `locked`: what killed runs left behind is removed first.
    """
    for left in data_dir.parent.glob(f".{data_dir.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)
    partial = data_dir.parent / f".{data_dir.name}.partial-{os.getpid()}"
    try:
        partial.mkdir()
    except OSError as error:
        raise full_disk(partial, error) from None
    try:
        yield partial
        sync_path(partial)
        _take_place(partial, data_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_place(new: Path, old: Path) -> None:
    """Make `new` be `old`; what was there, if anything, is `new` afterwards."""
    if not old.exists():
        new.replace(old)
    elif not _exchange(new, old):
        aside = new.with_name(new.name + "-old")
        old.replace(aside)
        new.replace(old)
        aside.replace(new)
    sync_path(old.parent)


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
    raise FerError(f"{second}: cannot be replaced: {os.strerror(code)}")


def check_replaceable(data_dir: Path) -> None:
    """Refuse to touch what `fer prepare` did not make. Raises FerError."""
    if not data_dir.exists() and not data_dir.is_symlink():
        return
    if data_dir.is_symlink() or not data_dir.is_dir():
        raise FerError(f"{data_dir}: exists and is not a directory. Choose another --out")
    if not any(data_dir.iterdir()):
        return
    try:
        manifest = json.loads((data_dir / MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(manifest, dict) and "fer_version" in manifest
    except (OSError, ValueError):
        ours = False
    folders = {split.folder for split in SPLITS}
    if not ours or not folders <= {path.name for path in data_dir.iterdir()}:
        raise FerError(
            f"{data_dir}: not empty and not made by `fer prepare`: it will not be touched.\n"
            "Choose another --out, or move it away"
        )
