"""The layers by Caffe's type names, and what a layer may know of its surroundings."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from fer.engines.core.framework import Shape as Shape
from fer.engines.core.seeds import derive_seed, new_seed
from fer.errors import FerError
from fer.schema import caffe_pb2

LAYERS: dict[str, type["Layer"]] = {}
_Class = TypeVar("_Class", bound="type[Layer]")


class Seeds:
    """Random generators by name, each from its own seed, so that one layer's draws never move another's.

    `seed` < 0 draws one from the system. `scope` keeps apart the nets of one training and its ranks.
    """

    def __init__(self, seed: int = -1, device: torch.device | str = "cpu", scope: str = ""):
        self.seed = seed if seed >= 0 else new_seed()
        self.device = torch.device(device)
        self.scope = scope
        self._generators: dict[str, torch.Generator] = {}

    def derive(self, name: str) -> int:
        """A 63-bit seed that depends on the seed, the scope and `name` only."""
        return derive_seed(self.seed, self.scope, name)

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


# A generator's state, in bytes: the Mersenne twister of a CPU; seed and offset of Philox on CUDA.
_STATE_BYTES = (5056, 16)


def _is_of_another_device(state: Tensor, generator: torch.Generator) -> bool:
    return state.numel() in _STATE_BYTES and state.numel() != generator.get_state().numel()


@dataclass
class Context:
    """What a layer may know of its surroundings; `stages` are set by its net."""

    phase: str = "TRAIN"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    seeds: Seeds = field(default_factory=Seeds)
    rank: int = 0
    world: int = 1
    stages: tuple[str, ...] = ()
    memory_format: torch.memory_format = torch.channels_last
    """How images and filters lie in memory."""
    precision: str = "fp32"
    """Of the passes; parameters stay fp32."""
    shuffled: dict[int, str] = field(default_factory=dict)
    """By the number of records of a database, the first Data layer of it: those beside it are shuffled alike, so that
    images and what another database holds of them stay together."""

    @property
    def training(self) -> bool:
        return self.phase == "TRAIN"


class Layer:
    """One Caffe layer. `setup` is called once with the bottoms' shapes; autograd differentiates `forward`."""

    loss_layer: ClassVar[bool] = False
    """Whether the first top has loss_weight 1 unless the prototxt says otherwise."""
    host: ClassVar[bool] = False
    """Whether forward works on the host (reads files, moves cursors): never captured in a CUDA graph."""
    index_bottom: ClassVar[int | None] = None
    """The bottom whose numbers are indices: labels, rows of a table."""

    def __init__(self, param: caffe_pb2.LayerParameter, context: Context):
        self.param = param
        self.context = context
        self.blobs: list[nn.Parameter] = []
        """Learnable blobs in Caffe's shapes and order (statistics too, with requires_grad False).

        Read `self.blobs[i]` in every forward and keep no other reference: shared parameters are swapped in here.
        """
        self.index_looks = 0

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        """Checks the bottoms' shapes, creates `blobs`, and returns the tops' shapes; FerError by `fail`."""
        return self.reshape(shapes)

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        """The tops' shapes for the bottoms' shapes, without touching `blobs`."""
        raise NotImplementedError

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def index_range(self) -> tuple[int, int | None]:
        """Layers with an `index_bottom`: how many there are to choose from, and the index that counts for nothing."""
        raise NotImplementedError

    def all_values(self, top: int) -> Tensor | None:
        """Data layers: all that the top will ever hold a part of, [rows, ...], where that is known."""
        return None

    def state(self) -> dict[str, Any]:
        """What a resume needs beyond blobs and generators: numbers, or numpy arrays (a data cursor, an order)."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken (values come back as numpy arrays)."""

    def seek(self, batches: int) -> None:
        """Data layers: go to where `batches` forward passes of this rank from the start would be."""

    def fail(self, message: str) -> NoReturn:
        raise FerError(f"layer '{self.param.name}' ({self.param.type}): {message}")


def register(*types: str) -> Callable[[_Class], _Class]:
    """Class decorator: this class is the layer of Caffe's `types`.

    `Python:Name` is the equivalent of the Python layer whose `python_param.layer` is Name.
    """

    def add(layer: _Class) -> _Class:
        for name in types:
            LAYERS[name] = layer
        return layer

    return add


def known_types() -> frozenset[str]:
    """Every layer type this engine has; imports the families on first use."""
    from fer.engines.pytorch import layers

    for module in pkgutil.iter_modules(layers.__path__):
        importlib.import_module(f"{layers.__name__}.{module.name}")
    return frozenset(LAYERS)


def create(param: caffe_pb2.LayerParameter, context: Context) -> Layer:
    """The layer of `param`; FerError with the nearest known types for a type this engine has not."""
    types = known_types()
    wanted = f"Python:{param.python_param.layer}" if param.type == "Python" else param.type
    if wanted not in types:
        near = difflib.get_close_matches(wanted, types, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known types: {', '.join(sorted(types))}"
        raise FerError(f"layer '{param.name}': Unknown layer type: {wanted} ({hint})")
    return LAYERS[wanted](param, context)
