"""How Caffe's layers become layers of one Keras model: their names, their arithmetic, what they draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from fer.engines.tensorflow.keras_layers.own import Always
from fer.engines.tensorflow.layer import Layer, Tensor
from fer.engines.tensorflow_engine import keras_name


@dataclass
class Wiring:
    """One pass through a net's layers, on Keras' symbols. `measuring`: dropout does what it does in scoring."""

    phase: str
    policy: str = "float32"
    measuring: bool = False
    variables: list[tuple[Any, Layer, int]] = field(default_factory=list)
    """Keras' variables, each with the layer whose blob it holds, and that blob's place."""
    generators: list[tuple[Any, str]] = field(default_factory=list)
    """The states of Keras' random generators, each with the name of ours that it is."""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    """By the names of their blobs."""
    _names: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """A name that TensorFlow allows and that this model has not yet: a layer's may hold no slash either."""
        plain = keras_name(wanted)
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain}.{number}"
        self._names.add(name)
        return name

    def policy_of(self, bottoms: Sequence[Tensor]) -> str:
        """The arithmetic of a layer that only handles numbers: what a Softmax made in 32 bits keeps them, as on a GPU's
        autocast."""
        return "float32" if all(bottom.dtype == "float32" for bottom in bottoms) else self.policy

    def holds(self, layer: Layer, *variables: Any) -> None:
        """These are the blobs of the layer, in their order."""
        self.variables += [(variable, layer, index) for index, variable in enumerate(variables)]

    def draws(self, made: Any, name: str) -> None:
        """The Keras layer `made` draws by our random generator of this name."""
        self.generators.append((made.seed_generator.state, name))

    def call(self, made: Any, layer: Layer, bottom: Tensor, *, drops: bool = False) -> Tensor:
        """What a Keras layer that trains otherwise than it tests makes of its bottom; `drops`: as dropout does."""
        own = layer.context.phase != self.phase
        if not own and not (drops and self.measuring):
            return made(bottom)
        mode = layer.context.training and not (drops and self.measuring)
        return Always(made, mode=mode, name=self.name(f"{layer.param.name}.always"))(bottom)

    def image_input(self, shape: Any, name: str) -> Tensor:
        """An input for a blob of Caffe's `shape`, of as many items as are given."""
        ours = (shape[2], shape[3], shape[1]) if len(shape) == 4 else tuple(shape[1:])
        made = keras.Input(ours, name=self.name(name), dtype="float32")
        self.inputs.setdefault(name, made)
        return made

    def any_input(self) -> Tensor:
        """One for a layer that has no bottom."""
        return next(iter(self.inputs.values()), None) or self.image_input((1,), "nothing")
