"""Sizes that cannot be held are refused before anything is allocated."""

import math
import os
from collections.abc import Iterable

import torch

from fer.engines.pytorch.registry import Shape
from fer.errors import FerError


def check_room(shapes: Iterable[Shape], itemsize: int, device: torch.device) -> None:
    """FerError unless arrays of `shapes`, each item of `itemsize` bytes, fit together into the memory of `device`."""
    needed = sum(math.prod(shape) for shape in shapes) * itemsize
    there = memory_bytes(device)
    if needed > there:
        raise FerError(f"this needs {needed / 1e9:,.1f} GB of memory, and the {device.type} has {there / 1e9:,.1f} GB")


def memory_bytes(device: torch.device) -> int:
    """All the memory of a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
