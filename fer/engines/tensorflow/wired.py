"""Nodes of a net wired as one Keras model, and a pass through it."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fer.engines.core.framework import Shape
from fer.engines.core.layers.normalize import BatchNorm
from fer.engines.core.node import Node
from fer.engines.tensorflow.context import Seeds
from fer.engines.tensorflow.keras_layers.neuron import StopGradient
from fer.engines.tensorflow.layer import Tensor
from fer.engines.tensorflow.layers.data import Feeding
from fer.engines.tensorflow.wiring import Wiring


class Wired:
    """What gives the blobs called `wanted`, from what feeding layers make and the blobs that no node makes.

    `bare`: the Keras model's variables hold nothing, as each pass gives it ours instead.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        shapes: Mapping[str, Shape],
        wiring: Wiring,
        wanted: Sequence[str],
        *,
        bare: bool = True,
    ):
        self.wiring = wiring
        self._shapes = shapes
        self._feeding = [node for node in nodes if isinstance(node.layer, Feeding)]
        self.symbols: dict[str, Tensor] = {}
        """Of every blob, as it is in the end."""
        with keras.StatelessScope(initialize_variables=False) if bare else nullcontext():
            for node in nodes:
                self.symbols.update(zip(node.tops, self._wire(node), strict=False))
            given = {id(symbol): name for name, symbol in wiring.inputs.items()}
            self.given = {name: given[id(self.symbols[name])] for name in wanted if id(self.symbols[name]) in given}
            """Blobs that are inputs themselves."""
            self.outputs = {name: self.symbols[name] for name in wanted if name not in self.given}
            self._made = list({id(symbol): symbol for symbol in self.outputs.values()}.values())
            self._place = {id(symbol): place for place, symbol in enumerate(self._made)}
            self.keras = keras.Model(dict(wiring.inputs), self._made) if self._made else None

    @property
    def sources(self) -> list[Feeding]:
        """The layers that feed it, in order."""
        return [node.layer for node in self._feeding]

    def _wire(self, node: Node) -> tuple[Tensor, ...]:
        if isinstance(node.layer, Feeding):
            return tuple(self.wiring.image_input(self._shapes[top], top) for top in node.tops)
        bottoms = []
        for name, cut in zip(node.bottoms, node.cut, strict=True):
            if name not in self.symbols:
                self.symbols[name] = self.wiring.image_input(self._shapes[name], name)
            symbol = self.symbols[name]
            if cut:
                symbol = StopGradient(name=self.wiring.name(f"{node.name}.cut"), dtype=self.wiring.policy)(symbol)
            bottoms.append(symbol)
        tops: tuple[Tensor, ...] = node.layer.wire(self.wiring, *bottoms)
        return tops

    def seeds(self, seeds: Seeds) -> np.ndarray:
        """uint32 [generators, 2]: what the random generators of the next pass start from."""
        rows = [seeds.next(name) for name in dict.fromkeys(name for _, name in self.wiring.generators)]
        return np.array(rows, np.uint32).reshape(-1, 2)

    def compute(self, fed: Any, seeds: Tensor, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """In a graph: the wanted blobs. `fed` and `seeds` are what `sources` and `seeds` said of this pass; `given`
        are blobs that nobody makes, or that stand for those of an Input layer."""
        inputs = dict(given)
        for node, values in zip(self._feeding, fed, strict=True):
            if not all(top in given for top in node.tops):
                inputs.update(zip(node.tops, node.layer.tops(values), strict=True))
        blobs = {name: inputs[source] for name, source in self.given.items()}
        if self.keras is None:
            return blobs
        if "nothing" in self.wiring.inputs:
            inputs.setdefault("nothing", tf.zeros((1, 1)))
        with keras.StatelessScope(state_mapping=self._state(seeds), initialize_variables=False) as scope:
            called = {name: inputs[name] for name in self.wiring.inputs}
            values = self.keras(called, training=self.wiring.phase == "TRAIN")
        self._keep_statistics(scope)
        values = values if isinstance(values, list | tuple) else [values]
        return blobs | {name: values[self._place[id(symbol)]] for name, symbol in self.outputs.items()}

    def _state(self, seeds: Tensor) -> list[tuple[Any, Tensor]]:
        """What each of Keras' variables is in this pass."""
        generators = self.wiring.generators
        rows = {name: row for row, name in enumerate(dict.fromkeys(name for _, name in generators))}
        state = [(variable, seeds[rows[name]]) for variable, name in generators]
        for variable, layer, index in self.wiring.variables:
            blob = layer.blobs[index]
            state.append((variable, blob.laid_out(layer.blob_shape(index), layer.layout(index))))
        return state

    def _keep_statistics(self, scope: Any) -> None:
        """What BatchNorm has added up in this pass."""
        for variable, layer, index in self.wiring.variables:
            if isinstance(layer, BatchNorm) and not layer.uses_stored:
                layer.blobs[index].variable.assign(scope.get_current_value(variable))
