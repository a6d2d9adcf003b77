"""Sizes that cannot be held are refused before anything is allocated."""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

import torch

from fer.engines.core.framework import Shape
from fer.errors import FerError


def check_room(shapes: Iterable[Shape], itemsize: int, device: torch.device) -> None:
    """FerError unless arrays of `shapes`, each item of `itemsize` bytes, fit together into `device`'s free memory."""
    needed = sum(math.prod(shape) for shape in shapes) * itemsize
    free = free_bytes(device)
    if needed > free:
        where = "GPU" if device.type == "cuda" else device.type.upper()
        raise FerError(
            f"this needs {needed / 1e9:,.1f} GB of memory, and of the {where}'s {free / 1e9:,.1f} GB are free"
        )


def free_bytes(device: torch.device) -> int:
    """What a device's memory can still take: what no process has, and what this one has set aside."""
    if device.type == "cuda":
        aside = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + aside
    try:
        # What the kernel can free counts too, such as the files it keeps in memory.
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
