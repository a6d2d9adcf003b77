"""Locks on open files and folders, which the system takes back when their holder ends, however it ends."""

import fcntl


def lock(descriptor: int) -> bool:
    """Take the lock of an open file or folder; False where another process, or another opening, has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
