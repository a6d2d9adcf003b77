"""The rows of datasets in HDF5 files, as HDF5Data takes them."""

from pathlib import Path
from typing import Any

import numpy as np

from fer.engines.core.layer import Context
from fer.errors import FerError
from fer.formats.hdf5 import open_hdf5


def read_rows(source: Path, names: list[str], context: Context) -> tuple[list[np.ndarray], list[int]]:
    """The datasets `names` of all files that the list `source` names, joined, and the number of rows of each file.

    Arrays in the context's type. Raises FerError for a list, file or dataset that cannot be used.
    """
    try:
        files = source.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise FerError(f"{source}: cannot read the list of HDF5 files: {error}") from None
    if not files:
        raise FerError(f"{source}: the list of HDF5 files is empty")
    parts = [_read_file(file, names, context) for file in files]
    for file, part in zip(files, parts, strict=True):
        for name, rows, first in zip(names, part, parts[0], strict=True):
            if rows.shape[1:] != first.shape[1:]:
                raise FerError(f"{file}: {name}: rows of {rows.shape[1:]}, in {files[0]} {first.shape[1:]}")
    joined = [np.concatenate([part[k] for part in parts]) for k in range(len(names))]
    return joined, [len(part[0]) for part in parts]


def _read_file(file: str, names: list[str], context: Context) -> list[np.ndarray]:
    try:
        with open_hdf5(file, "r") as stream:
            datasets = [_dataset(stream, file, name) for name in names]
            context.check_room([dataset.shape for dataset in datasets])
            rows: list[np.ndarray] = [dataset.astype(context.real)[...] for dataset in datasets]
    except OSError as error:
        raise FerError(f"{file}: cannot be read as HDF5: {error}") from None
    if len({len(values) for values in rows}) > 1:
        counts = ", ".join(f"{name} {len(values):,}" for name, values in zip(names, rows, strict=True))
        raise FerError(f"{file}: its datasets differ in rows: {counts}")
    if not len(rows[0]):
        raise FerError(f"{file}: its datasets have no rows")
    return rows


def _dataset(stream: Any, file: str, name: str) -> Any:
    """An h5py.Dataset of an open h5py.File."""
    dataset = stream.get(name)
    if dataset is None or not hasattr(dataset, "dtype"):
        raise FerError(f"{file}: no dataset {name!r}, which the layer's top asks for; it has: {', '.join(stream)}")
    if dataset.dtype.kind not in "fiu" or not dataset.shape:
        raise FerError(
            f"{file}: {name}: not an array of numbers with rows (dtype {dataset.dtype}, shape {dataset.shape})"
        )
    return dataset
