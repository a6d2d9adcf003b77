"""What a framework brings to be an engine: nets of Caffe's layers, the step of a training, the update rules.

Numbers of a pass stay where the framework computes them (`Value`): they may be added, and divided by an int, and are
fetched by `Net.host` or `Training.mean` only when a line is to be written.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from fer.engines.core.log import Log
from fer.engines.core.ranks import Ranks
from fer.errors import FerError
from fer.nets.states import State
from fer.schema import caffe_pb2

Value: TypeAlias = Any
Shape = tuple[int, ...]
NetState: TypeAlias = dict[str, Any]
"""What the next pass of a net needs besides its parameters: {"layers": {name: {key: number or array}},
"generators": {name: uint8 array}}."""


class Node(Protocol):
    """A layer in its place in a net."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def param(self) -> caffe_pb2.LayerParameter: ...

    @property
    def bottoms(self) -> Sequence[str]: ...

    @property
    def tops(self) -> Sequence[str]: ...

    @property
    def loss_weights(self) -> Sequence[float]:
        """One a top."""
        ...

    @property
    def cut(self) -> Sequence[bool]:
        """Per bottom: whether no gradient flows down it (`propagate_down: false`)."""
        ...


class Learned(Protocol):
    """One of Caffe's learnable parameters, those with lr_mult 0 among them: blob `index` of the layer `owner`."""

    @property
    def owner(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def decay_mult(self) -> float: ...


class Net(Protocol):
    """The layers of a prototxt that take part in a state, with their parameters."""

    @property
    def name(self) -> str: ...

    @property
    def filtered(self) -> caffe_pb2.NetParameter:
        """The prototxt of the layers that take part."""
        ...

    @property
    def nodes(self) -> Sequence[Node]:
        """In order, Caffe's automatic Splits among them."""
        ...

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Of every blob by name."""
        ...

    @property
    def blob_shapes(self) -> Mapping[str, list[Shape]]:
        """Of the parameters (statistics too) of each layer that has some."""
        ...

    @property
    def learnable(self) -> Sequence[Learned]: ...

    @property
    def outputs(self) -> Sequence[tuple[str, float | None]]:
        """The blobs that nobody reads, in the order of their names, each with its loss weight if it has one."""
        ...

    @property
    def inputs(self) -> Sequence[str]:
        """Tops of the Input layers, in order."""
        ...

    def blob(self, layer: str, index: int) -> np.ndarray:
        """A layer's parameter as a float32 array, C-contiguous, in its shape."""
        ...

    def set_blob(self, layer: str, index: int, values: np.ndarray) -> None:
        """Give a parameter the values, which have its shape."""
        ...

    def run_lean(self) -> None:
        """From now on keep no blob that is neither an output nor needed by a later layer."""
        ...

    def evaluate(self) -> tuple[Value, list[Value]]:
        """A forward pass that nothing is learnt from: the weighted loss, and the outputs."""
        ...

    def host(self, value: Value) -> np.ndarray:
        """The numbers of a value, float32."""
        ...

    def infer(self, images: np.ndarray, output: str) -> np.ndarray:
        """float64 [N, K]: the blob `output` for float32 images [N, C, H, W] given to the only input."""
        ...

    def share(self, other: Any) -> None:
        """Use `other`'s parameters in every layer of the same name; FerError where their shapes differ."""
        ...

    def generators(self) -> dict[str, np.ndarray]:
        """The states of the random generators, uint8, by name."""
        ...

    def state(self) -> NetState:
        """What the next pass needs besides the parameters."""
        ...

    def load_state(self, state: Mapping[str, Any], iteration: int = 0) -> list[str]:
        """Continue where `state` was taken. Returns the names of generators that cannot (those of another kind of
        device), which begin anew from the seed and the iteration."""
        ...

    def seek(self, batches: int) -> None:
        """Put every data layer to where it would be after so many forward passes."""
        ...

    def epoch(self) -> int | None:
        """The batches that show each image of the data layers once; None where no layer can tell."""
        ...

    def measure_statistics(self, batches: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Measure anew what the BatchNorm layers know, on so many training batches that all count alike.

        Dropout and stochastic pooling do meanwhile what they do in scoring. Raises FerError where it is not finite.
        """
        ...

    def measures_statistics(self) -> bool:
        """Whether there is a BatchNorm layer that training teaches statistics."""
        ...

    def time_pass(self, forward: dict[str, float], backward: dict[str, float]) -> None:
        """Run the layers one by one forward, then backward; add each one's milliseconds, by its name."""
        ...


class Ema(Protocol):
    """The exponential moving average of a net's parameters, those that nothing is learnt for and BatchNorm's statistics
    among them; it begins with the parameters as they are."""

    def take(self, decay: float) -> None:
        """Become `decay` times what it was plus (1 - decay) times the parameters; 0: exactly the parameters."""
        ...

    def swap(self) -> None:
        """Exchange the numbers of the average and of the parameters."""
        ...


class Training(Protocol):
    """A net's training: passes whose gradients add up, and the update rule."""

    def clear(self) -> None:
        """Forget the gradients of the passes so far."""
        ...

    def run_pass(self) -> Value:
        """A forward and a backward pass on the next batch; the loss."""
        ...

    def outputs(self) -> list[np.ndarray]:
        """The net's outputs of the last pass, averaged over the ranks."""
        ...

    def mean(self, losses: Sequence[Value]) -> float:
        """The mean of these losses, averaged over the ranks."""
        ...

    def average_gradients(self) -> None:
        """Average the gradients over the ranks."""
        ...

    def update(self, iteration: int, rate: float) -> float | None:
        """Update every parameter from its gradient, by the solver's rule, with the rate of this iteration.

        The gradients' L2 norm where it exceeded clip_gradients, as far as it is known without waiting for a device.
        """
        ...

    def history(self) -> list[np.ndarray]:
        """Caffe's history blobs, float32: one per learnable parameter, or all first and then all second."""
        ...

    def ema(self) -> Ema:
        """An average of the parameters, of this rank alone."""
        ...

    def load_history(self, rows: Sequence[np.ndarray], *, legacy: bool = False) -> None:
        """Take over a solver state's history (`legacy`: with four axes each); FerError where it is of another net."""
        ...


class Backend(Protocol):
    """A framework on one device, in one precision."""

    @property
    def ranks(self) -> Ranks: ...

    def set_up(self) -> None:
        """What holds for all that this process computes. Raises FerError for a precision that there is not."""
        ...

    def net(
        self,
        proto: caffe_pb2.NetParameter,
        state: State,
        *,
        path: str | Path | None = None,
        seed: int = -1,
        scope: str = "",
    ) -> Net:
        """The layers that take part in `state`, set up in order; `path` is the file whose lines faults name.

        `seed` and `scope` are what its random numbers come from (-1: the system). Raises FerError.
        """
        ...

    def training(self, net: Any, solver: caffe_pb2.SolverParameter, log: Log) -> Training:
        """The training of one of this backend's nets. Every rank begins with the first one's parameters."""
        ...


class Framework(Protocol):
    """What a framework tells of itself, and how it is put onto devices."""

    @property
    def program(self) -> str:
        """What `python -m` starts the engine by."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def file(self) -> str:
        """Where it is installed."""
        ...

    @property
    def epilog(self) -> str:
        """What its own environment variables do, for --help."""
        ...

    def versions(self) -> dict[str, str]: ...

    def layer_types(self) -> frozenset[str]: ...

    def gpu_names(self) -> list[str]:
        """Of the GPUs that it can use, in their order."""
        ...

    def gpus_of(self, text: str | None) -> list[int]:
        """The GPUs of `--gpu` ("", "0", "0,2", "all"); FerError for anything else or where one is not there."""
        ...

    def try_gpu(self, gpu: int) -> None:
        """Compute something on it; raises where it cannot be used."""
        ...

    def fault(self, error: RuntimeError) -> FerError | None:
        """What an error of the framework's or of a GPU's means in words; None for one that is of neither."""
        ...

    def on(self, gpus: Sequence[int], precision: str) -> Backend:
        """It on the first of the GPUs, or on the CPU, as a process by itself."""
        ...

    def join(self, gpus: Sequence[int], precision: str) -> Backend:
        """It on this rank's GPU of those given, together with the other ranks."""
        ...

    def leave(self, backend: Any) -> None:
        """Wait for the other ranks at the end of a training that went well, and part."""
        ...

    def start_ranks(self, count: int, arguments: Sequence[str]) -> int | None:
        """Run the same command in `count` processes; their exit code. None where this is one of them already."""
        ...
