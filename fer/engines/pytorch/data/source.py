"""Images and labels in one tensor on the device, read once and shared by the nets of a process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fer.engines.core.images import ListOptions, Read, Room, read_database, read_image_list
from fer.engines.pytorch.data.room import check_room
from fer.engines.pytorch.registry import Shape


@dataclass(frozen=True)
class Images:
    """`pixels` [N, C, H, W], uint8 (float32 for Datums of floats), laid out channels_last; `labels` float32 [N]."""

    pixels: Tensor
    labels: Tensor

    @property
    def shape(self) -> Shape:
        """(C, H, W) of one image."""
        return tuple(self.pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.labels)


_loaded: WeakValueDictionary[tuple[object, ...], Images] = WeakValueDictionary()


def _shared(key: tuple[object, ...], file: Path, device: torch.device, read: Callable[[Room], Read]) -> Images:
    """What `read` returns, or what it returned to another net of this process while `file` is unchanged."""
    status = file.stat() if file.exists() else None
    whole_key = (*key, str(file.resolve()), status and (status.st_mtime_ns, status.st_size), str(device))
    images = _loaded.get(whole_key)
    if images is None:
        images = _to_device(*read(_room_on(device)), device)
        _loaded[whole_key] = images
    return images


def load_database(path: Path, force: str, device: torch.device) -> Images:
    """All Datums of an LMDB (see read_database), on the device."""
    return _shared(("lmdb", force), path / "data.mdb", device, lambda room: read_database(path, force, room))


def load_image_list(path: Path, options: ListOptions, device: torch.device) -> Images:
    """The images that a list names (see read_image_list), on the device."""
    return _shared(("list", options), path, device, lambda room: read_image_list(path, options, room))


def _room_on(device: torch.device) -> Room:
    def room(shape: tuple[int, ...], itemsize: int) -> None:
        for where in {torch.device("cpu"), device}:
            check_room([shape], itemsize, where)

    return room


def _to_device(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Images:
    return Images(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2), torch.from_numpy(labels).to(device))
