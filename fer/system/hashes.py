"""Whether files are still those that a record lists.

Large files are not read again while they are the ones that were hashed before: what was found is kept in the user's
cache folder, by inode, size and both times. A file that was edited and given its old mtime back has another ctime.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer.errors import FerError
from fer.system.files import cannot_read, open_regular

if TYPE_CHECKING:
    import numpy as np

_LARGE = 1 << 20  # less than this, of fewer files than _MANY, is hashed sooner than looked up
_MANY = 1000
_SETTLED_NS = 2_000_000_000  # a file that changed less long ago may change again without its times showing it
_MOST = 1000  # files whose hashes are kept
_ENTRY = re.compile(r"([0-9a-f ]+) ([0-9a-f]{64})\n")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises FerError where it cannot be read, or is no regular file."""
    try:
        with open_regular(path) as stream:
            found = os.fstat(stream.fileno())
            if found.st_size < _LARGE:
                return hashlib.file_digest(stream, "sha256").hexdigest()
            if known := _known(found, _state(found)):
                return known
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if _state(os.fstat(stream.fileno())) == _state(found):
                _remember(found, _state(found), digest, found.st_ctime_ns)
            return digest
    except OSError as error:
        raise cannot_read(path, error) from error


def files_hash(folder: Path, names: Sequence[str], *, by: Path | None = None) -> str:
    """SHA-256 of the SHA-256s of these files of a folder, in their order. Raises FerError as `file_hash` does.

    What was found is kept by the folder, or by the file `by` that lists them.
    """
    try:
        about, found = (by or folder).stat(), [os.stat(f"{folder}{os.sep}{name}") for name in names]  # noqa: PTH116
        states = content_hash("\n".join(map(_state, found)))
        if known := _known(about, states):
            return known
        digest = hashlib.sha256()
        for name in names:
            with open_regular(folder / name) as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        if len(names) >= _MANY or sum(each.st_size for each in found) >= _LARGE:
            _remember(about, states, digest.hexdigest(), max(each.st_ctime_ns for each in found))
        return digest.hexdigest()
    except OSError as error:
        raise cannot_read(Path(error.filename or folder), error) from error


def content_hash(*parts: str | bytes | np.ndarray) -> str:
    """SHA-256 of several things in their order, in hexadecimal; of an array its dtype and shape count too."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str | bytes):
            data = part.encode() if isinstance(part, str) else part
        else:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            data = part.tobytes()
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()


def check_file(path: Path, recorded: str, what: str, cure: str) -> None:
    """Raise FerError with the `cure` unless a file has the recorded hash; `what` says since when, as "it was made"."""
    if not path.exists():
        raise FerError(f"{path} is missing\n{cure}")
    if file_hash(path) != recorded:
        raise FerError(f"{path} has changed since {what} (another SHA-256)\n{cure}")


def _state(found: os.stat_result) -> str:
    """What is another once a file was written to, or is another file."""
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fer" / "hashes"


def _entry(found: os.stat_result) -> Path:
    return _folder() / f"{found.st_dev}-{found.st_ino}"


def _known(about: os.stat_result, state: str) -> str | None:
    """The hash of a file or folder that was hashed in this state."""
    try:
        if not _is_own(_folder()):
            return None
        entry = _ENTRY.fullmatch(_entry(about).read_text(encoding="ascii"))
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home
        return None
    return entry[2] if entry and entry[1] == state else None


def _remember(about: os.stat_result, state: str, digest: str, changed_ns: int) -> None:
    """Keep a hash, unless what was hashed changed only just now; a cache that cannot be written is gone without."""
    if time.time_ns() - changed_ns < _SETTLED_NS:
        return
    with contextlib.suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_own(folder):
            return
        entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in entries[: -_MOST + 1]:
            old.unlink(missing_ok=True)
        entry = _entry(about)
        unfinished = entry.with_name(f"{entry.name}.{os.getpid()}")
        unfinished.unlink(missing_ok=True)
        with unfinished.open("x", encoding="ascii") as stream:
            stream.write(f"{state} {digest}\n")
        unfinished.replace(entry)


def _is_own(folder: Path) -> bool:
    """Whether what stands there can be believed: only this user may have written it."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
