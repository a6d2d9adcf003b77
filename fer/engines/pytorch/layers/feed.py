"""Input, DummyData, MemoryData and HDF5Data: blobs from the caller, from fillers, from arrays and from HDF5 files."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer.engines.core.layers import feed as rules
from fer.engines.pytorch.data.rows import take
from fer.engines.pytorch.registry import Layer, Shape, register


@register("Input")
class Input(rules.Input, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(shape, dtype=self.context.dtype, device=self.context.device) for shape in self.shapes)


@register("DummyData")
class DummyData(rules.DummyData, Layer):
    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return self.next()


@register("MemoryData")
class MemoryData(rules.MemoryData, Layer):
    def top_shapes(self) -> list[Shape]:
        self._arrays: tuple[Tensor, Tensor] | None = None
        self._batches = 0
        return super().top_shapes()

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
class HDF5Data(rules.HDF5Data, Layer):
    def setup(self, shapes: list[Shape]) -> list[Shape]:
        tops = super().setup(shapes)
        self.rows = [self._laid_out(rows) for rows in self.rows]
        return tops

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.contiguous(memory_format=self.context.memory_format) if rows.dim() == 4 else rows

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        pieces = self.order.next()
        return tuple(take(rows, pieces) for rows in self.rows)
