"""What lies in a folder and below it, without waiting for what is no file."""

import errno
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass
class Contents:
    """The regular files below a folder, links to files and folders followed, in the order of their paths.

    `hidden` counts what macOS, Windows and git put there (see `is_hidden`); `odd` says of what is neither file nor
    folder what it is, and `unreadable` why a folder or link could not be looked into.
    """

    files: list[Path] = field(default_factory=list)
    hidden: int = 0
    odd: dict[Path, str] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: .DS_Store, ._a.jpg, __MACOSX, Thumbs.db, desktop.ini."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def contents(folder: Path) -> Contents:
    """All that lies below `folder`. A folder that several links lead to is looked into once, and first as itself."""
    found, seen = Contents(), set[tuple[int, int]]()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        here = folders.popleft() if folders else links.popleft()
        try:
            status = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            found.unreadable[here] = error.strerror or str(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            found.odd[here] = "a link to a folder that is read already"
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = Path(entry.path)
            if is_hidden(entry.name):
                found.hidden += 1
            elif _is_folder(path, found):
                (links if entry.is_symlink() else folders).append(path)
    found.files.sort()
    return found


def _is_folder(path: Path, found: Contents) -> bool:
    """Whether there is a folder to look into; what else there is goes into `found`."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
            found.odd[path] = "a link to nothing" if error.errno == errno.ENOENT else "a link that leads to itself"
        else:
            found.unreadable[path] = error.strerror or str(error)
        return False
    if stat.S_ISREG(mode):
        found.files.append(path)
    elif stat.S_ISDIR(mode) and path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()):
        found.odd[path] = "a link to a folder that it lies in"
    elif stat.S_ISDIR(mode):
        return True
    else:
        found.odd[path] = next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no file")
    return False
