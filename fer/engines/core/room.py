"""Sizes that cannot be held are refused before anything is allocated."""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

from fer.engines.core.framework import Shape
from fer.errors import FerError


def check_fits(shapes: Iterable[Shape], itemsize: int, free: int, where: str) -> None:
    """FerError unless arrays of `shapes`, each item of `itemsize` bytes, fit together into the `free` bytes there."""
    needed = sum(math.prod(shape) for shape in shapes) * itemsize
    if needed > free:
        raise FerError(
            f"this needs {needed / 1e9:,.1f} GB of memory, and of the {where}'s {free / 1e9:,.1f} GB are free"
        )


def free_host_bytes() -> int:
    """What the machine's memory can still take: what no process has, or what the kernel can free."""
    try:
        # What the kernel can free counts too, such as the files it keeps in memory.
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
