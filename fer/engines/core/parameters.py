"""A net's learnable parameters in Caffe's order, shared by name between layers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.formats.blobs import shape_text
from fer.schema import caffe_pb2


@dataclass
class LearnedParam:
    """One of Caffe's learnable parameters; those with lr_mult 0 are among them."""

    parameter: Any
    lr_mult: float
    decay_mult: float
    owner: str
    index: int
    name: str = ""

    @property
    def shape(self) -> Shape:
        return tuple(self.parameter.shape)


@dataclass
class _Owner:
    learned: LearnedParam
    has_lr: bool
    has_decay: bool


class Parameters:
    """Fills `learnable` layer by layer, and lets layers whose parameters bear one name have one."""

    def __init__(self, view: Callable[[Any, Shape], Any]) -> None:
        """`view` gives the same numbers in another shape, through which gradients reach them."""
        self.learnable: list[LearnedParam] = []
        self._view = view
        self._owners: dict[str, _Owner] = {}
        self._reshaped: list[tuple[Layer, int, Any, Shape]] = []

    def add(self, layer: Layer, index: int) -> None:
        spec = layer.param.param[index] if index < len(layer.param.param) else caffe_pb2.ParamSpec()
        owner = self._owners.get(spec.name) if spec.name else None
        if owner:
            self._share(layer, index, spec, owner)
            return
        lr = spec.lr_mult if layer.learns else 0.0
        learned = LearnedParam(layer.blobs[index], lr, spec.decay_mult, layer.param.name, index, spec.name)
        self.learnable.append(learned)
        if spec.name:
            self._owners[spec.name] = _Owner(learned, spec.HasField("lr_mult"), spec.HasField("decay_mult"))

    def _share(self, layer: Layer, index: int, spec: caffe_pb2.ParamSpec, owner: _Owner) -> None:
        learned, own = owner.learned, layer.blob_shape(index)
        where = f"parameter '{spec.name}' owned by layer '{learned.owner}'"
        same_count = math.prod(own) == math.prod(learned.shape)
        if own == learned.shape:
            layer.blobs[index] = learned.parameter
        elif spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE and same_count:
            self._reshaped.append((layer, index, learned.parameter, own))
        else:
            layer.fail(
                f"cannot share {where}: shape mismatch, {shape_text(learned.shape)} there and {shape_text(own)} here"
                + ("; share_mode: PERMISSIVE compares the counts only" if same_count else "")
            )
        if spec.HasField("lr_mult"):
            if owner.has_lr and spec.lr_mult != learned.lr_mult:
                layer.fail(f"shared {where} has mismatched lr_mult: {learned.lr_mult:g} there, {spec.lr_mult:g} here")
            learned.lr_mult, owner.has_lr = spec.lr_mult, True
        if spec.HasField("decay_mult"):
            if owner.has_decay and spec.decay_mult != learned.decay_mult:
                layer.fail(
                    f"shared {where} has mismatched decay_mult: {learned.decay_mult:g} there, {spec.decay_mult:g} here"
                )
            learned.decay_mult, owner.has_decay = spec.decay_mult, True

    def bind(self) -> None:
        """Before each pass: let parameters that are shared in another shape be views of their owner."""
        for layer, index, owner, shape in self._reshaped:
            layer.blobs[index] = self._view(owner, shape)

    def share_reshaped(self, layers: Mapping[str, Layer], names: Mapping[int, str], other: "Parameters") -> None:
        """Let `layers`, by name, be views of the owners that those of another net are; `names` are theirs, by id."""
        for layer, index, owner, shape in other._reshaped:
            if target := layers.get(names[id(layer)]):
                self._reshaped = [row for row in self._reshaped if row[0] is not target or row[1] != index]
                self._reshaped.append((target, index, owner, shape))
