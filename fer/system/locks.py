"""Locks on open files and folders, which the system takes back when their holder ends, however it ends."""

import fcntl
import os
from pathlib import Path

LISTED = Path("/proc/locks")


def lock(descriptor: int) -> bool:
    """Take the lock of an open file or folder; False where another process, or another opening, has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process has the lock of a file or folder.

    Looked up and not tried, where the system lists its locks: who would take it meanwhile is not kept from it.
    """
    try:
        listed = LISTED.read_text().splitlines()
    except OSError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return not lock(descriptor)
        finally:
            os.close(descriptor)
    # "1: FLOCK ADVISORY WRITE 4711 fe:00:2171188 0 EOF"; of the device some file systems tell another number than stat
    inode = f":{path.stat().st_ino}"
    return any(words[1] == "FLOCK" and words[5].endswith(inode) for words in map(str.split, listed) if len(words) > 5)
