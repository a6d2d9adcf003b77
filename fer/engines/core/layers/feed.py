"""Input, DummyData, MemoryData and HDF5Data: blobs from the caller, from fillers, from arrays and from HDF5 files."""

from pathlib import Path
from typing import Any

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.hdf5_rows import read_rows
from fer.engines.core.layer import Layer
from fer.engines.core.layers.data import Cursor
from fer.errors import FerError
from fer.schema import caffe_pb2


class Source(Layer):
    """A layer without bottoms whose tops have fixed shapes."""

    host = True

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        if shapes:
            self.fail("takes no bottom")
        self.shapes = self.top_shapes()
        try:
            self.context.check_room(self.shapes)
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


class Input(Source):
    """Blobs that the caller fills; zero until then."""

    def top_shapes(self) -> list[Shape]:
        shapes = [tuple(shape.dim) for shape in self.param.input_param.shape]
        if any(size < 0 for shape in shapes for size in shape):
            self.fail("a dimension is negative")
        # As in Caffe, an Input without a shape is one that the caller's arrays will shape.
        return self.each_top("shape", shapes) if shapes else [()] * len(self.param.top)


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

    def _fill(self, top: int) -> Any:
        try:
            return self.context.fill(self._fillers[top], self.shapes[top])
        except FerError as error:
            self.fail(str(error))

    def next(self) -> tuple[Any, ...]:
        """The tops of the next pass."""
        for top, filler in enumerate(self._fillers):
            if filler.type != "constant":
                self._filled[top] = self._fill(top)
        return tuple(self._filled)


class MemoryData(Source):
    """Batches of arrays that the caller gave, over and over; not transformed, as in Caffe."""

    def top_shapes(self) -> list[Shape]:
        param = self.param.memory_data_param
        shape = (param.batch_size, param.channels, param.height, param.width)
        if min(shape) < 1:
            self.fail("batch_size, channels, height and width must each be 1 or more in memory_data_param")
        if len(self.param.top) != 2:
            self.fail(f"has 2 tops (data, label), not {len(self.param.top)}")
        return [shape, shape[:1]]


class HDF5Data(Source, Cursor):
    """Rows of the HDF5 files that a list names; each top is the dataset of its name. With `shuffle`, the files and
    the rows within each are permuted anew each epoch."""

    def top_shapes(self) -> list[Shape]:
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            self.fail("does not transform data; remove transform_param")
        if param.batch_size < 1:
            self.fail("batch_size must be 1 or more")
        try:
            arrays, counts = read_rows(Path(param.source), list(self.param.top), self.context)
        except FerError as error:
            self.fail(str(error))
        self.order = self.make_order(counts, param.batch_size, shuffle=param.shuffle)
        self.rows = [self.context.place(rows) for rows in arrays]
        return [(param.batch_size, *rows.shape[1:]) for rows in arrays]

    def all_values(self, top: int) -> np.ndarray | None:
        values: np.ndarray = self.context.host(self.rows[top])
        return values
