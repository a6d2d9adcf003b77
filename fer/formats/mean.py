"""The mean of a training's images as people keep it: a binaryproto, a .npy, or a number for each channel."""

from pathlib import Path

import numpy as np

from fer.errors import FerError
from fer.formats.blobs import shape_text
from fer.formats.database import read_mean

NPY = b"\x93NUMPY"
_CHANNELS = (1, 3)


def find_mean(given: str | Path) -> np.ndarray:
    """The mean of `--mean`: float32 [C, H, W] of a file, or [C, 1, 1] of numbers as 104,117,123.

    A .npy has [C, H, W], [H, W], [H, W, C], [C], or one number. Raises FerError where there is none, or it is no mean.
    """
    path = Path(given)
    numbers = _numbers(str(given))
    if numbers is not None and not path.exists():
        return np.array(numbers, np.float32).reshape(-1, 1, 1)
    try:
        with path.open("rb") as stream:
            is_npy = stream.read(len(NPY)) == NPY
    except OSError as error:
        raise FerError(
            f"--mean {given}: cannot be read: {error.strerror}\n"
            "give a .binaryproto, a .npy, or a number for each channel (127.5, or 104,117,123)"
        ) from None
    return read_npy(path) if is_npy else read_mean(path)


def _numbers(text: str) -> list[float] | None:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) in _CHANNELS and np.isfinite(numbers).all() else None


def read_npy(path: Path) -> np.ndarray:
    """A mean in NumPy's format, as `find_mean` has it. Raises FerError."""
    try:
        mean = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FerError(f"{path}: not a mean: {error}") from None
    if mean.dtype.kind not in "fiu":
        raise FerError(f"{path}: not a mean: it holds {mean.dtype} values")
    mean = mean.reshape(mean.shape[1:]) if mean.ndim == 4 and len(mean) == 1 else mean
    if mean.ndim < 2:
        mean = mean.reshape(-1, 1, 1)
    elif mean.ndim == 2:
        mean = mean[np.newaxis]
    elif mean.ndim == 3 and mean.shape[0] not in _CHANNELS and mean.shape[2] in _CHANNELS:
        mean = mean.transpose(2, 0, 1)
    if not np.isfinite(mean).all():
        raise FerError(f"{path}: not a mean: it holds nan or inf")
    if mean.ndim != 3 or mean.shape[0] not in _CHANNELS or not mean.size:
        raise FerError(f"{path}: not a mean of images with 1 or 3 channels: its shape is {shape_text(mean.shape)}")
    return np.ascontiguousarray(mean, np.float32)
