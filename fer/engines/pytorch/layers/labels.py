"""Labels, which Caffe keeps as floats, as indices."""

import torch
from torch import Tensor

from fer.engines.pytorch.registry import Layer


def class_index(
    layer: Layer, labels: Tensor, classes: int, ignore: int | None = None, what: str = "label"
) -> tuple[Tensor, Tensor | None]:
    """int64 indices of the shape of `labels`, and how much each counts: 0 where ignored, else 1 (None: all do).

    A label outside of 0..classes-1 is a FerError on the CPU. On an accelerator, where looking would stop the device,
    it counts NaN instead: the loss shows it.
    """
    index = labels.detach().long()
    kept = None if ignore is None else index != ignore
    wrong = (index < 0) | (index >= classes)
    if kept is not None:
        wrong &= kept
    if index.device.type == "cpu":
        if wrong.any():
            layer.fail(f"{what} {int(index[wrong][0])} is outside of 0..{classes - 1}")
        if kept is None:
            return index, None
        return index.masked_fill(~kept, 0), kept.to(layer.context.dtype)
    weight = torch.ones_like(index, dtype=layer.context.dtype) if kept is None else kept.to(layer.context.dtype)
    return index.clamp(0, classes - 1), weight.masked_fill(wrong, torch.nan)
