"""Images and labels read once, placed where the framework computes, and shared by the nets of a process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from fer.engines.core.framework import Shape
from fer.engines.core.images import ListOptions, Read, Room, read_database, read_image_list
from fer.engines.core.layer import Context


@dataclass(frozen=True)
class Images:
    """`pixels` [N, H, W, C], uint8 (float32 for Datums of floats) and `labels` float32 [N], as the context placed them;
    `shape` is (C, H, W) of one image."""

    pixels: Any
    labels: Any
    shape: Shape

    def __len__(self) -> int:
        return len(self.labels)


_loaded: WeakValueDictionary[tuple[object, ...], Images] = WeakValueDictionary()


def load_database(path: Path, force: str, context: Context) -> Images:
    """All Datums of an LMDB (see read_database)."""
    return _shared(("lmdb", force), path / "data.mdb", context, lambda room: read_database(path, force, room))


def load_image_list(path: Path, options: ListOptions, context: Context) -> Images:
    """The images that a list names (see read_image_list)."""
    return _shared(("list", options), path, context, lambda room: read_image_list(path, options, room))


def _shared(key: tuple[object, ...], file: Path, context: Context, read: Callable[[Room], Read]) -> Images:
    """What `read` returns, or what it returned to another net of this process while `file` is unchanged."""
    status = file.stat() if file.exists() else None
    whole_key = (*key, str(file.resolve()), status and (status.st_mtime_ns, status.st_size), context.where)
    images = _loaded.get(whole_key)
    if images is None:
        pixels, labels = read(lambda shape, itemsize: context.check_room([shape], itemsize))
        _, height, width, channels = pixels.shape
        images = Images(context.place(pixels), context.place(labels), (channels, height, width))
        _loaded[whole_key] = images
    return images
