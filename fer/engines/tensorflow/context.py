"""What a layer may know of its surroundings on TensorFlow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.core import layer as core
from fer.engines.core import seeds
from fer.engines.core.fillers import fill
from fer.engines.core.framework import Shape
from fer.engines.core.room import check_fits, free_host_bytes
from fer.engines.tensorflow.blob import Blob
from fer.schema import caffe_pb2

_KIND = 0x746E736F72  # the first number of a generator's state: tells it from one of another engine's
_APART = 16  # draws that a layer may make in a pass


class Seeds(seeds.Seeds):
    """Random generators by name, each a seed and how often it was asked: a pass's draws follow from these two alone."""

    def __init__(self, seed: int = -1, scope: str = ""):
        super().__init__(seed, scope)
        self._counters: dict[str, np.ndarray] = {}

    def _counter(self, name: str) -> np.ndarray:
        if name not in self._counters:
            self._counters[name] = np.array([_KIND, self.derive(name), 0], np.int64)
        return self._counters[name]

    def next(self, name: str) -> np.ndarray:
        """uint32 [2]: what the next draws by the generator called `name` start from, in TensorFlow and Keras."""
        counter = self._counter(name)
        _, seed, asked = counter.tolist()
        counter[2] += 1
        return np.array([seed & 0xFFFFFFFF, ((seed >> 32) + asked * _APART) & 0xFFFFFFFF], np.uint32)

    def state(self) -> dict[str, np.ndarray]:
        """uint8 state of every generator asked so far, by name."""
        return {name: counter.view(np.uint8).copy() for name, counter in self._counters.items()}

    def load_state(self, states: Mapping[str, np.ndarray | None], iteration: int = 0) -> list[str]:
        """Continues the named generators where `state` was taken.

        A state of another engine's (or None: there is none) cannot be continued: that generator begins anew from the
        seed, its name and `iteration`. Returns the names of those that did.
        """
        anew = []
        for name, state in states.items():
            numbers = np.zeros(0, np.int64) if state is None or state.nbytes != 24 else state.view(np.int64).ravel()
            if numbers.size == 3 and numbers[0] == _KIND:
                self._counters[name] = numbers.copy()
            else:
                self._counters[name] = np.array([_KIND, self.derive(f"{name}/{iteration}"), 0], np.int64)
                anew.append(name)
        return anew


class _Draws:
    """numpy's random numbers, written into arrays."""

    def __init__(self, seed: np.ndarray):
        self._generator = np.random.Generator(np.random.Philox(seed.tolist()))

    def uniform(self, blob: np.ndarray, low: float, high: float) -> None:
        self._generator.random(out=blob, dtype=blob.dtype)
        blob *= high - low
        blob += low

    def normal(self, blob: np.ndarray, mean: float, deviation: float) -> None:
        self._generator.standard_normal(out=blob, dtype=blob.dtype)
        blob *= deviation
        blob += mean


@dataclass
class Context(core.Context):
    """The device is what TensorFlow sees."""

    seeds: Seeds = field(default_factory=Seeds, kw_only=True)

    @property
    def where(self) -> str:
        return "tensorflow"

    def fill(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> np.ndarray:
        return fill(filler, shape, _Draws(self.seeds.next("fillers")))

    def parameter(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> Blob:
        return Blob(self.fill(filler, shape))

    def statistics(self, size: int) -> Blob:
        return Blob(np.zeros(size, np.float32))

    def place(self, array: np.ndarray) -> Any:
        return tf.convert_to_tensor(array)

    def host(self, value: Any) -> np.ndarray:
        array: np.ndarray = value.numpy()
        return array

    def check_room(self, shapes: Iterable[Shape], itemsize: int | None = None) -> None:
        check_fits(shapes, itemsize or 4, free_host_bytes(), "CPU")
