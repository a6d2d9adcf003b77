"""HDF5 files, Caffe's of weights among them, by a package that nothing else needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar

import numpy as np

from fer.errors import FerError
from fer.system.shell import pip_install

if TYPE_CHECKING:
    import h5py

T = TypeVar("T")
MAGIC = b"\x89HDF\r\n\x1a\n"


def open_hdf5(file: str | Path | BinaryIO, mode: Literal["r", "w"]) -> h5py.File:
    """The file, to be used in a `with`. Raises FerError where h5py is missing, OSError where the file is no HDF5."""
    if isinstance(file, str | Path):
        need_hdf5(file)
    import h5py

    return h5py.File(file, mode)


def need_hdf5(path: str | Path) -> None:
    """Raises FerError where h5py, which `path` is to be read or written with, is missing."""
    if importlib.util.find_spec("h5py") is None:
        raise FerError(f"{path}: HDF5 needs h5py: {pip_install('h5py')}")


def listed_files(path: Path) -> list[Path]:
    """The files that a list of Caffe's HDF5Data layer names. Raises FerError where the list cannot be read."""
    try:
        return [Path(name) for name in path.read_text(encoding="utf-8").split()]
    except (OSError, UnicodeDecodeError) as error:
        raise FerError(f"{path}: cannot read the list of HDF5 files: {error}") from None


def read_hdf5(path: str | Path, read: Callable[[h5py.File], T]) -> T:
    """What `read` finds in a file of Caffe's. Raises FerError where it is damaged or holds something else."""
    try:
        with open_hdf5(path, "r") as file:
            return read(file)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FerError(f"cannot read {path}: {reason}; is it cut short, or no HDF5 of Caffe's?") from error


def read_hdf5_weights(path: str | Path) -> dict[str, dict[int, np.ndarray]]:
    """The float32 blobs of a .caffemodel.h5 by layer and place, a shared one with its owner only. Raises FerError."""
    return read_hdf5(path, _blobs)


def _blobs(file: h5py.File) -> dict[str, dict[int, np.ndarray]]:
    layers = {name: {int(key): group[key] for key in group} for name, group in file["data"].items()}
    return {
        name: {index: np.asarray(blobs[index], np.float32) for index in sorted(blobs)}
        for name, blobs in layers.items()
        if blobs
    }
