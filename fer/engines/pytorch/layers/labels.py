"""Labels, and other numbers that Caffe keeps as floats, as indices."""

import torch
from torch import Tensor

from fer.engines.pytorch.registry import Layer

# Passes in which the indices are looked at on an accelerator too, before a CUDA graph may be captured.
_LOOKS = 3


def class_index(
    layer: Layer, labels: Tensor, classes: int, ignore: int | None = None, what: str = "label"
) -> tuple[Tensor, Tensor | None]:
    """int64 indices of the shape of `labels`, and how much each counts: 0 where ignored, else 1 (None: all do).

    A label outside of 0..classes-1 is a FerError on the CPU. On an accelerator, where looking stops the device, it is
    one in the layer's first passes, and counts NaN later: the loss shows it.
    """
    index = labels.detach().long()
    kept = None if ignore is None else index != ignore
    wrong = _outside(index, classes, ignore)
    looks = _free_to_look(index.device)
    if looks or layer.index_looks < _LOOKS:
        layer.index_looks += 1
        if wrong.any():
            layer.fail(f"{what} {int(index[wrong][0])} is outside of 0..{classes - 1}")
    if looks:
        if kept is None:
            return index, None
        return index.masked_fill(~kept, 0), kept.to(layer.context.dtype)
    weight = torch.ones_like(index, dtype=layer.context.dtype) if kept is None else kept.to(layer.context.dtype)
    return index.clamp(0, classes - 1), weight.masked_fill(wrong, torch.nan)


class IndexCheck:
    """Holds the indices that data layers hand out, as soon as they are loaded, against the layers that take them."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, Tensor]] = {}
        """Of each blob that is a part of what a data layer holds: that layer's name, and all that it holds."""

    def __call__(self, layer: Layer, tops: list[str]) -> None:
        """Take the net's next layer; FerError where it can not use an index that will reach it."""
        bottoms, at = layer.param.bottom, layer.index_bottom
        if at is not None and bottoms[at] in self._sources:
            _check(layer, *self._sources[bottoms[at]])
        for number, top in enumerate(tops):
            values = None if bottoms else layer.all_values(number)
            self._sources.pop(top, None)
            if values is not None:
                self._sources[top] = layer.param.name, values
            elif layer.param.type == "Split" and bottoms[0] in self._sources:
                self._sources[top] = self._sources[bottoms[0]]


def _check(layer: Layer, source: str, values: Tensor) -> None:
    classes, ignore = layer.index_range()
    index = values.detach().long()
    wrong = _outside(index, classes, ignore)
    count = int(wrong.sum())
    if count:
        row = int(wrong.reshape(len(wrong), -1).any(1).nonzero()[0])
        rest = f"; so have {count - 1:,} more rows" if count > 1 else ""
        layer.fail(
            f"row {row:,} (from 0) of layer '{source}' has the label {int(index[wrong][0])}, which is outside of "
            f"0..{classes - 1}{rest}"
        )


def _outside(index: Tensor, classes: int, ignore: int | None) -> Tensor:
    wrong = (index < 0) | (index >= classes)
    return wrong if ignore is None else wrong & (index != ignore)


def _free_to_look(device: torch.device) -> bool:
    """Whether to read a number waits for nothing."""
    return device.type == "cpu"
