"""HDF5 files, by a package that nothing else of the engine needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fer.errors import FerError

if TYPE_CHECKING:
    import h5py


def open_hdf5(path: str | Path, mode: Literal["r", "w"]) -> h5py.File:
    """The file, to be used in a `with`. Raises FerError where h5py is missing, OSError where the file is no HDF5."""
    try:
        import h5py
    except ImportError:
        raise FerError(f"{path}: HDF5 needs h5py: pip install h5py") from None
    return h5py.File(path, mode)
