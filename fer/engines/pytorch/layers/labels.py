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


def _outside(index: Tensor, classes: int, ignore: int | None) -> Tensor:
    wrong = (index < 0) | (index >= classes)
    return wrong if ignore is None else wrong & (index != ignore)


def _free_to_look(device: torch.device) -> bool:
    """Whether to read a number waits for nothing."""
    return device.type == "cpu"
