"""NumPy's files: archives that may be damaged, and disks that may be full."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

# What zipfile, zlib and NumPy raise for the many ways in which an archive can be damaged (a flipped bit may ask for a
# password or for a kind of compression).
_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class DamagedArchive(Exception):
    """An archive that cannot be read, and why."""


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npz: those named, or all. No pickles.

    Raises FileNotFoundError, and DamagedArchive where one cannot be read or is not there.
    """
    try:
        # Opened here: numpy leaves a damaged archive that it opened itself open. Reading an array checks its checksum.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (arrays.files if names is None else names)}
    except FileNotFoundError:
        raise
    except _FAULTS as error:
        raise DamagedArchive(str(error) or type(error).__name__) from error


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy. Raises the system's OSError on a full disk, where NumPy's has neither errno nor reason."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.data)
