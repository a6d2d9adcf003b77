"""HDF5 files, by a package that nothing else of the engine needs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from fer.errors import FerError
from fer.system.shell import pip_install

if TYPE_CHECKING:
    import h5py


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
