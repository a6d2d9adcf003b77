"""What still fits into a device's memory."""

from collections.abc import Iterable

import torch

from fer.engines.core.framework import Shape
from fer.engines.core.room import check_fits, free_host_bytes


def check_room(shapes: Iterable[Shape], itemsize: int, device: torch.device) -> None:
    """FerError unless arrays of `shapes`, each item of `itemsize` bytes, fit together into `device`'s free memory."""
    check_fits(shapes, itemsize, free_bytes(device), "GPU" if device.type == "cuda" else device.type.upper())


def free_bytes(device: torch.device) -> int:
    """What a device's memory can still take: what no process has, and what this one has set aside."""
    if device.type == "cuda":
        aside = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + aside
    return free_host_bytes()
