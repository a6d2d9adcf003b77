"""A layer but for its arithmetic, which a framework adds, and what it may know of its surroundings."""

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, NoReturn

import numpy as np

from fer.engines.core.framework import Shape
from fer.engines.core.order import Order
from fer.engines.core.seeds import Seeds
from fer.errors import FerError
from fer.schema import caffe_pb2


@dataclass
class Context:
    """What a layer may know of its surroundings; `stages` are set by its net. A framework adds its own to it."""

    phase: str = "TRAIN"
    _: KW_ONLY
    seeds: Seeds = field(default_factory=Seeds)
    rank: int = 0
    world: int = 1
    stages: tuple[str, ...] = ()
    precision: str = "fp32"
    """Of the passes; parameters stay fp32."""
    shuffled: dict[int, str] = field(default_factory=dict)
    """By the number of records of a database, the first Data layer of it: those beside it are shuffled alike, so that
    images and what another database holds of them stay together."""

    @property
    def training(self) -> bool:
        return self.phase == "TRAIN"

    def fill(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> Any:
        """New numbers of `shape`, drawn by `filler`; FerError where that refuses."""
        raise NotImplementedError

    def parameter(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> Any:
        """A new learnable blob of `shape`, drawn by `filler`; FerError where that refuses."""
        raise NotImplementedError

    def statistics(self, size: int) -> Any:
        """A new blob [size] of zeros that no gradient reaches."""
        raise NotImplementedError

    @property
    def real(self) -> type[np.floating[Any]]:
        """The type of a pass's numbers, but for those that `precision` makes shorter."""
        return np.float32

    @property
    def where(self) -> str:
        """Where `place` puts arrays."""
        raise NotImplementedError

    def place(self, array: np.ndarray) -> Any:
        """The array where the framework computes, in its own type."""
        raise NotImplementedError

    def host(self, value: Any) -> np.ndarray:
        """The numbers of what was placed."""
        raise NotImplementedError

    def check_room(self, shapes: Iterable[Shape], itemsize: int | None = None) -> None:
        """FerError unless blobs of `shapes` fit together into free memory.

        `itemsize` is that of what is read into the host's memory before it is placed; None: blobs of `real` numbers.
        """
        raise NotImplementedError


class Layer:
    """One Caffe layer. `setup` is called once with the bottoms' shapes."""

    loss_layer: ClassVar[bool] = False
    """Whether the first top has loss_weight 1 unless the prototxt says otherwise."""
    host: ClassVar[bool] = False
    """Whether it works on the host (reads files, moves cursors), pass by pass."""
    learns: ClassVar[bool] = True
    """Whether a gradient moves its blobs (those of BatchNorm are statistics)."""
    index_bottom: ClassVar[int | None] = None
    """The bottom whose numbers are indices: labels, rows of a table."""
    context: Any
    blobs: list[Any]

    def __init__(self, param: caffe_pb2.LayerParameter, context: Context):
        self.param = param
        self.context = context
        self.blobs = []
        """Parameters in Caffe's shapes and order (statistics too); shared ones are swapped in here."""

    def setup(self, shapes: list[Shape]) -> list[Shape]:
        """Checks the bottoms' shapes, creates `blobs`, and returns the tops' shapes; FerError by `fail`."""
        return self.reshape(shapes)

    def reshape(self, shapes: list[Shape]) -> list[Shape]:
        """The tops' shapes for the bottoms' shapes, without touching `blobs`."""
        raise NotImplementedError

    def index_range(self) -> tuple[int, int | None]:
        """Layers with an `index_bottom`: how many there are to choose from, and the index that counts for nothing."""
        raise NotImplementedError

    def all_values(self, top: int) -> np.ndarray | None:
        """Data layers: all that the top will ever hold a part of, [rows, ...], where that is known."""
        return None

    def state(self) -> dict[str, Any]:
        """What a resume needs beyond blobs and generators: numbers, or numpy arrays (a data cursor, an order)."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken (values come back as numpy arrays)."""

    def seek(self, batches: int) -> None:
        """Data layers: go to where `batches` forward passes of this rank from the start would be."""

    def make_order(
        self, counts: Sequence[int], batch: int, *, name: str = "", shuffle: bool = False, rand_skip: int = 0
    ) -> Order[Any]:
        """Data layers: the order of their rows, seeded by `name` (else their own); in TEST each rank takes all rows."""
        context = self.context
        share = (context.rank, context.world) if context.training else (0, 1)
        name, seed = name or self.param.name, context.seeds.seed
        return Order(name, counts, batch, seed, context.place, share=share, shuffle=shuffle, rand_skip=rand_skip)

    def learn(self, filler: caffe_pb2.FillerParameter, shape: Shape) -> None:
        """Add a blob of `shape`, drawn by `filler`; the layer's name is added to what the filler refuses."""
        try:
            self.blobs.append(self.context.parameter(filler, shape))
        except FerError as error:
            self.fail(str(error))

    def blob_shape(self, index: int) -> Shape:
        return tuple(self.blobs[index].shape)

    def expect_bottoms(self, shapes: list[Shape], fewest: int, most: int | None = None) -> None:
        """FerError unless there are `fewest` to `most` bottoms (`most` None: exactly `fewest`)."""
        most = fewest if most is None else most
        if not fewest <= len(shapes) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            self.fail(f"takes {wanted} bottoms, not {len(shapes)}")

    def axis_of(self, axis: int, shape: Shape) -> int:
        """`axis` counted from the front; FerError where `shape` has no such axis."""
        if not -len(shape) <= axis < len(shape):
            self.fail(f"axis {axis} is outside of its bottom's shape {shape}")
        return axis % len(shape)

    def fail(self, message: str) -> NoReturn:
        raise FerError(f"layer '{self.param.name}' ({self.param.type}): {message}")
