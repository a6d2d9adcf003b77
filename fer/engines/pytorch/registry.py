"""What a layer of this engine may know of its surroundings, and the layers by Caffe's type names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fer.engines.core import layer as core
from fer.engines.core import seeds
from fer.engines.core.fillers import fill
from fer.engines.core.framework import Shape as Shape
from fer.engines.core.registry import Registry
from fer.engines.pytorch.data.room import check_room
from fer.errors import FerError
from fer.schema import caffe_pb2


class Seeds(seeds.Seeds):
    """Random generators by name, each from its own seed, so that one layer's draws never move another's."""

    def __init__(self, seed: int = -1, device: torch.device | str = "cpu", scope: str = ""):
        super().__init__(seed, scope)
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def generator(self, name: str, device: torch.device | str | None = None) -> torch.Generator:
        """The generator called `name`, made on first use (on `device`, else on the net's own)."""
        if name not in self._generators:
            generator = torch.Generator(device=self.device if device is None else device)
            self._generators[name] = generator.manual_seed(self.derive(name))
        return self._generators[name]

    def generators(self) -> list[torch.Generator]:
        return list(self._generators.values())

    def state(self) -> dict[str, Tensor]:
        """uint8 state of every generator made so far, by name."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state(self, states: Mapping[str, Tensor | None], iteration: int = 0) -> list[str]:
        """Continues the named generators where `state` was taken; one not made yet is made.

        A state of another kind of device (or None: there is no state) cannot be continued: that generator begins anew
        from the seed, its name and `iteration`. Returns the names of those that did; FerError for a damaged state.
        """
        anew = []
        for name, state in states.items():
            generator = self.generator(name)
            if state is None or _is_of_another_device(state, generator):
                generator.manual_seed(self.derive(f"{name}/{iteration}"))
                anew.append(name)
                continue
            try:
                generator.set_state(state)
            except (RuntimeError, TypeError) as error:
                raise FerError(f"the saved state of the random generator '{name}' does not fit: {error}") from error
        return anew

    def release(self, states: Mapping[str, Tensor]) -> None:
        """Continues from `states` where a capture failed and left its mark on CUDA's generators: they draw no more."""
        for name, state in states.items():
            generator = self._generators[name]
            if generator.device.type == "cuda":
                generator.graphsafe_set_state(generator.clone_state())  # a clone bears no mark
            generator.set_state(state)


# A generator's state, in bytes: the Mersenne twister of a CPU; seed and offset of Philox on CUDA; TensorFlow's.
_STATE_BYTES = (5056, 16, 24)


def _is_of_another_device(state: Tensor, generator: torch.Generator) -> bool:
    return state.numel() in _STATE_BYTES and state.numel() != generator.get_state().numel()


class _Draws:
    """Torch's random numbers, written into arrays."""

    def __init__(self, generator: torch.Generator):
        self._generator = generator

    def uniform(self, blob: np.ndarray, low: float, high: float) -> None:
        torch.from_numpy(blob).uniform_(low, high, generator=self._generator)

    def normal(self, blob: np.ndarray, mean: float, deviation: float) -> None:
        torch.from_numpy(blob).normal_(mean, deviation, generator=self._generator)


@dataclass
class Context(core.Context):
    """What a layer may know of its surroundings, on a device."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    seeds: Seeds = field(default_factory=Seeds, kw_only=True)
    memory_format: torch.memory_format = field(default=torch.channels_last, kw_only=True)
    """How images and filters lie in memory."""

    @property
    def real(self) -> type[np.floating]:
        return np.float64 if self.dtype == torch.float64 else np.float32

    @property
    def where(self) -> str:
        return str(self.device)

    def fill(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> Tensor:
        # Drawn on the CPU, so a seed gives the same net on every device.
        blob = fill(filler, shape, _Draws(self.seeds.generator("fillers", "cpu")), self.real)
        return torch.from_numpy(blob).to(self.device)

    def parameter(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> nn.Parameter:
        return nn.Parameter(self.fill(filler, shape))

    def statistics(self, size: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(size, dtype=self.dtype, device=self.device), requires_grad=False)

    def place(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def host(self, value: Tensor) -> np.ndarray:
        return value.detach().cpu().numpy()

    def check_room(self, shapes: Iterable[Shape], itemsize: int | None = None) -> None:
        shapes = list(shapes)
        for device in {self.device} if itemsize is None else {torch.device("cpu"), self.device}:
            check_room(shapes, itemsize or self.dtype.itemsize, device)


class Layer(core.Layer):
    """A layer that autograd differentiates. Read `self.blobs[i]` in every forward and keep no other reference."""

    context: Context
    blobs: list[nn.Parameter]
    index_looks = 0

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


REGISTRY: Registry[Layer] = Registry("fer.engines.pytorch.layers")
register, known_types, create = REGISTRY.register, REGISTRY.known_types, REGISTRY.create
