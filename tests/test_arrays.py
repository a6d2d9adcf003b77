"""NumPy's archives: whatever is wrong with one is one error."""

import errno
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer.system.arrays import DamagedArchive, read_arrays, write_array


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_of_any_bit_is_one_error(tmp_path: Path, save: Callable[..., None]) -> None:
    """Or none: not every byte of an archive counts."""
    path, draw = tmp_path / "a.npz", random.Random(1)
    save(path, names=np.array(["a", "b"]), values=np.arange(20))
    whole = path.read_bytes()
    refused = 0
    for number in range(600):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data[: draw.randrange(len(data))] if number % 10 == 0 else data)
        try:
            read_arrays(path)
        except DamagedArchive:
            refused += 1
    assert refused > 150


def test_what_is_no_archive_or_lacks_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", one=1)
    np.savez(tmp_path / "c.npz", one=np.array([object()]))
    for name in ("a.npy", "b.npz", "c.npz"):
        with pytest.raises(DamagedArchive):
            read_arrays(tmp_path / name, ("one", "two"))
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1], np.zeros((0, 3), np.uint8)])
def test_what_is_written_is_read_by_numpy(array: np.ndarray, tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", array)
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_a_full_disk_is_the_system_s_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_array(Path("/dev/full"), np.zeros(100_000))
    assert caught.value.errno == errno.ENOSPC
