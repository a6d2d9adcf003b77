"""Indices that data layers hand out, held against the layers that take them."""

import numpy as np

from fer.engines.core.layer import Layer


class IndexCheck:
    """Looks at the labels of a net's data, all of them, as soon as they are loaded."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[Layer, int]] = {}
        """Of each blob that is a part of what a data layer may hold: that layer, and the number of its top."""

    def __call__(self, layer: Layer, tops: list[str]) -> None:
        """Take the net's next layer; FerError where it cannot use an index that will reach it."""
        bottoms, at = layer.param.bottom, layer.index_bottom
        if at is not None and bottoms[at] in self._sources:
            source, number = self._sources[bottoms[at]]
            if (values := source.all_values(number)) is not None:
                _check(layer, source.param.name, values)
        for number, top in enumerate(tops):
            self._sources.pop(top, None)
            if not bottoms:
                self._sources[top] = layer, number
            elif layer.param.type == "Split" and bottoms[0] in self._sources:
                self._sources[top] = self._sources[bottoms[0]]


def _check(layer: Layer, source: str, values: np.ndarray) -> None:
    classes, ignore = layer.index_range()
    with np.errstate(invalid="ignore"):  # a nan becomes a number far outside
        index = values.astype(np.int64)
    wrong = (index < 0) | (index >= classes)
    if ignore is not None:
        wrong &= index != ignore
    count = int(wrong.sum())
    if count:
        row = int(wrong.reshape(len(wrong), -1).any(1).argmax())
        rest = f"; so have {count - 1:,} more rows" if count > 1 else ""
        layer.fail(
            f"row {row:,} (from 0) of layer '{source}' has the label {index[wrong][0]}, which is outside of "
            f"0..{classes - 1}{rest}"
        )
