"""Input, DummyData, MemoryData and HDF5Data: blobs from the caller, from fillers, from arrays and from HDF5 files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer.engines.pytorch.data.room import check_room
from fer.engines.pytorch.data.rows import make_order, take
from fer.engines.pytorch.fillers import fill
from fer.engines.pytorch.registry import Layer, Shape, register
from fer.errors import FerError
from fer.formats.hdf5 import open_hdf5
from fer.schema import caffe_pb2


class Source(Layer):
    """A layer without bottoms whose tops have fixed shapes."""

    host = True

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        if shapes:
            self.fail("takes no bottom")
        self.shapes = self.top_shapes()
        try:
            check_room(self.shapes, self.context.dtype.itemsize, self.context.device)
        except FerError as error:
            self.fail(str(error))
        return self.shapes

    def top_shapes(self) -> list[Shape]:
        raise NotImplementedError

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        return self.shapes

    def each_top(self, field: str, values: list[Any]) -> list[Any]:
        """`values` of a field given once or once a top, one for each top."""
        tops = len(self.param.top)
        if len(values) not in (1, tops):
            self.fail(f"{field} must be given once, or once for each of its {tops} tops, not {len(values)} times")
        return values * tops if len(values) == 1 else values


@register("Input")
class Input(Source):
    """Blobs that the caller fills; zero until then."""

    def top_shapes(self) -> list[Shape]:
        shapes = [tuple(shape.dim) for shape in self.param.input_param.shape]
        if any(size < 0 for shape in shapes for size in shape):
            self.fail("a dimension is negative")
        # As in Caffe, an Input without a shape is one that the caller's arrays will shape.
        return self.each_top("shape", shapes) if shapes else [()] * len(self.param.top)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(shape, dtype=self.context.dtype, device=self.context.device) for shape in self.shapes)


@register("DummyData")
class DummyData(Source):
    """Blobs from fillers, filled anew for each pass; constant ones once."""

    def top_shapes(self) -> list[Shape]:
        param = self.param.dummy_data_param
        legacy = [list(values) for values in (param.num, param.channels, param.height, param.width)]
        if any(legacy):
            if param.shape:
                self.fail("both shape and the old num, channels, height, width are given")
            names = ("num", "channels", "height", "width")
            shapes = list(zip(*map(self.each_top, names, legacy), strict=True))
        else:
            shapes = self.each_top("shape", [tuple(shape.dim) for shape in param.shape])
        if any(size < 0 for shape in shapes for size in shape):
            self.fail("a dimension is negative")
        return shapes

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(shapes)
        fillers = list(self.param.dummy_data_param.data_filler) or [caffe_pb2.FillerParameter()]
        self._fillers = self.each_top("data_filler", fillers)
        self._filled = [self._fill(k) for k in range(len(tops))]
        return tops

    def _fill(self, top: int) -> Tensor:
        try:
            return fill(self._fillers[top], self.shapes[top], self.context)
        except FerError as error:
            self.fail(str(error))

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        for top, filler in enumerate(self._fillers):
            if filler.type != "constant":
                self._filled[top] = self._fill(top)
        return tuple(self._filled)


@register("MemoryData")
class MemoryData(Source):
    """Batches of arrays that the caller gave with `set_arrays`, over and over; not transformed, as in Caffe."""

    def top_shapes(self) -> list[Shape]:
        param = self.param.memory_data_param
        shape = (param.batch_size, param.channels, param.height, param.width)
        if min(shape) < 1:
            self.fail("batch_size, channels, height and width must each be 1 or more in memory_data_param")
        if len(self.param.top) != 2:
            self.fail(f"has 2 tops (data, label), not {len(self.param.top)}")
        self._arrays: tuple[Tensor, Tensor] | None = None
        self._batches = 0
        return [shape, shape[:1]]

    def set_arrays(self, data: np.ndarray | Tensor, labels: np.ndarray | Tensor) -> None:
        """`data` [N, channels, height, width] and `labels` [N], N a multiple of batch_size; starts at the first."""
        arrays = [torch.as_tensor(values).to(self.context.device, self.context.dtype) for values in (data, labels)]
        count, batch = len(arrays[0]), self.shapes[0][0]
        if arrays[0].shape[1:] != self.shapes[0][1:] or arrays[1].shape != (count,):
            shapes = " and ".join(str(tuple(values.shape)) for values in arrays)
            self.fail(f"needs data of (N, {', '.join(map(str, self.shapes[0][1:]))}) and labels of (N,), not {shapes}")
        if not count or count % batch:
            self.fail(f"{count} rows are no multiple of batch_size {batch}")
        self._arrays = arrays[0].contiguous(memory_format=self.context.memory_format), arrays[1]
        self._batches = 0

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if self._arrays is None:
            self.fail(
                "has no data: it hands out arrays that a program gives with set_arrays; use Data or HDF5Data here"
            )
        batch = self.shapes[0][0]
        start = self._batches * batch % len(self._arrays[0])
        self._batches += 1
        return tuple(values[start : start + batch] for values in self._arrays)

    def state(self) -> dict[str, Any]:
        return {"batches": self._batches}

    def load_state(self, state: dict[str, Any]) -> None:
        self._batches = int(state["batches"])

    def seek(self, batches: int) -> None:
        self._batches = batches


@register("HDF5Data")
class HDF5Data(Source):
    """Rows of the HDF5 files that a list names; each top is the dataset of its name. With `shuffle`, the files and
    the rows within each are permuted anew each epoch."""

    def top_shapes(self) -> list[Shape]:
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            self.fail("does not transform data; remove transform_param")
        if param.batch_size < 1:
            self.fail("batch_size must be 1 or more")
        try:
            self._rows, counts = _read_files(Path(param.source), list(self.param.top), self.context)
        except FerError as error:
            self.fail(str(error))
        self.order = make_order(self.param.name, counts, param.batch_size, self.context, shuffle=param.shuffle)
        return [(param.batch_size, *rows.shape[1:]) for rows in self._rows]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        pieces = self.order.next()
        return tuple(take(rows, pieces) for rows in self._rows)

    def all_values(self, top: int) -> Tensor | None:
        return self._rows[top]

    def state(self) -> dict[str, Any]:
        return {"batches": self.order.batches}

    def load_state(self, state: dict[str, Any]) -> None:
        self.order.batches = int(state["batches"])

    def seek(self, batches: int) -> None:
        self.order.batches = batches


def _read_files(source: Path, names: list[str], context: Any) -> tuple[list[Tensor], list[int]]:
    """The datasets `names` of all files that the list `source` names, joined, and the number of rows of each file."""
    try:
        files = source.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise FerError(f"{source}: cannot read the list of HDF5 files: {error}") from None
    if not files:
        raise FerError(f"{source}: the list of HDF5 files is empty")
    parts: list[list[Tensor]] = [_read_file(file, names, context) for file in files]
    for file, part in zip(files, parts, strict=True):
        for name, rows, first in zip(names, part, parts[0], strict=True):
            if rows.shape[1:] != first.shape[1:]:
                raise FerError(
                    f"{file}: {name}: rows of {tuple(rows.shape[1:])}, in {files[0]} {tuple(first.shape[1:])}"
                )
    joined = [torch.cat([part[k] for part in parts]) for k in range(len(names))]
    return [_laid_out(rows, context.memory_format) for rows in joined], [len(part[0]) for part in parts]


def _laid_out(rows: Tensor, memory_format: torch.memory_format) -> Tensor:
    return rows.contiguous(memory_format=memory_format) if rows.dim() == 4 else rows


def _read_file(file: str, names: list[str], context: Any) -> list[Tensor]:
    try:
        with open_hdf5(file, "r") as stream:
            datasets = [_dataset(stream, file, name) for name in names]
            check_room([dataset.shape for dataset in datasets], context.dtype.itemsize, context.device)
            arrays = [
                dataset.astype(np.float64 if context.dtype == torch.float64 else np.float32)[...]
                for dataset in datasets
            ]
    except OSError as error:
        raise FerError(f"{file}: cannot be read as HDF5: {error}") from None
    rows = [torch.from_numpy(array).to(context.device) for array in arrays]
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
