"""Engines: processes that speak Caffe. This package starts them; nothing of `fer` imports one.

An engine is an object of the Protocol `Engine`. One whose process takes these verbs after a command is a
`ProcessEngine` (process_engine.py) that names the command (caffe/worker.py is such a process):
    train    --solver S [--snapshot X.solverstate | --weights W.caffemodel] [--gpu 0[,1...]] [--precision P]
             [--ema DECAY]
    predict  --model deploy.prototxt --source images.npy --transform TEXT [--ten-crop]
             --weights W --out scores.npz [--weights W2 --out scores2.npz ...]
    describe --model M --phase P [--stage S ...] [--level L]
    batch    --model M --phase P [--stage S ...] [--level L] --out batch.npz [--seed N]
    average  --model train_val.prototxt --weights W,W2[,...] --out W [--iterations N]
    layers, doctor, gpu
It writes Caffe's log lines and those of `caffe/ipc.py` to stderr, and answers in JSON. registry.py has them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fer.nets.states import State
    from fer.schema import caffe_pb2

Say = Callable[[str], None]
Counter = Callable[[int, int], None]
"""Called with how many are done, and of how many."""
NO_GPU = "none"
"""What --gpu is given for the CPU."""
PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Demand:
    """What a training asks of its engine.

    layer_types  of the layers that take part in training or in a test
    statistics   the first BatchNorm layer that is to learn its batches' statistics, or None
    solver_type  "SGD", "Adam", ...
    stochastic   the first layer that pools by chance on the CPU, which real Caffe does on GPUs alone, or None
    """

    layer_types: frozenset[str]
    statistics: str | None
    solver_type: str
    stochastic: str | None = None


class Engine(Protocol):
    """What trains and scores nets."""

    @property
    def name(self) -> str:
        """What --engine and run.json call it."""
        ...

    @property
    def title(self) -> str:
        """What a person calls it."""
        ...

    @property
    def own(self) -> bool:
        """Whether it is the user's own by name (FER_CAFFE, say), so that no other is taken where it fails."""
        ...

    @property
    def python_layers(self) -> bool:
        """Whether it may import the Python modules that a net's Python layers name; fer's own Augment it always may."""
        ...

    @property
    def precisions(self) -> tuple[str, ...]:
        """The arithmetic it can train in."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic it trains in."""
        ...

    @property
    def shuffles(self) -> bool:
        """Whether it can read an LMDB in a new order each epoch (the stage `shuffle`)."""
        ...

    @property
    def keeps_ema(self) -> bool:
        """Whether it can keep an exponential average of the weights while it trains."""
        ...

    @property
    def has_gpu_code(self) -> bool:
        """Whether it may be able to train on a GPU, as far as is known without asking it."""
        ...

    @property
    def resumes_exactly(self) -> bool:
        """Whether training can be resumed in the middle of an epoch with nothing changed."""
        ...

    @property
    def threads(self) -> str:
        """How many threads it calculates with."""
        ...

    @property
    def lacks(self) -> frozenset[str]:
        """The layer types of BVLC Caffe 1.0 that it has not, as far as is known without starting it."""
        ...

    @property
    def instead(self) -> str:
        """What to take instead where it cannot train a net."""
        ...

    @property
    def train_environment(self) -> Mapping[str, str]:
        """The environment of the process that trains."""
        ...

    def set_up(self, say: Say | None = None) -> Engine:
        """The engine, found and ready to be started; `say` is told of a long set-up. Raises FerError with the cure."""
        ...

    def allowing(self, python_layers: bool) -> Engine:
        """The engine that may (or may not) import the Python modules that a net's Python layers name."""
        ...

    def at(self, precision: str) -> Engine:
        """The engine that trains in this precision, one of its `precisions`."""
        ...

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        """The layer types that it has, as far as they matter for `wanted`. Raises FerError where it does not tell."""
        ...

    def shortfall(self, demand: Demand) -> str | None:
        """Why it cannot train what is asked, in words that follow its name; None where it can."""
        ...

    def check_gpus(self, wanted: int | str) -> tuple[int, ...]:
        """The GPUs that `wanted` (0, "0,1" or "all") means. Raises FerError unless it can train on them."""
        ...

    def first_gpu(self, wanted: int | str | None) -> int | None:
        """The first of a run's GPUs, where it scores on GPUs and this machine has them; None means the CPU."""
        ...

    def stop_signal(self, number: int) -> int:
        """The signal that makes its training stop and save, when we are asked to by `number`."""
        ...

    def train_command(
        self,
        solver: Path,
        *,
        gpus: Sequence[int] = (),
        weights: Path | None = None,
        snapshot: Path | None = None,
        ema: float | None = None,
    ) -> list[str]:
        """The command that trains, on the CPU without `gpus`; paths as seen from the run directory, its folder.

        `ema`: the decay of an exponential average of the weights, of engines that keep one.
        """
        ...

    def describe(self, model: Path, state: State, *, folder: Path | None = None) -> dict[str, Any]:
        """The net as it builds it for `state`; paths are seen from `folder`.

        {"params": {layer: [shape, ...]}, "blobs": {name: shape}, "types": {layer: type}, "versions": {name: version}}
        Raises EngineFailed with its reason when it cannot build the net, and with the layer it was at.
        """
        ...

    def predict(
        self,
        deploy: Path,
        weights: Sequence[Path],
        images: Path,
        transform: caffe_pb2.TransformationParameter,
        outs: Sequence[Path],
        *,
        ten_crop: bool = False,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Counter | None = None,
        answered: Counter | None = None,
    ) -> None:
        """Write probs float32 [N,K] of the images (uint8 [N,C,H,W], .npy), with each of the `weights`, to its own one
        of `outs` (.npz), as soon as they are there.

        The images go through `transform` as in the TEST phase; with `ten_crop` the probabilities of the four corners
        and the centre, each also mirrored, are averaged. `progress` counts the images, for each of the weights anew;
        `answered`, of engines that tell, the files that are written. Raises FerError with the engine's reason; the
        files written before stay.
        """
        ...

    def batch(self, model: Path, out: Path, *, state: State, seed: int = -1, folder: Path | None = None) -> None:
        """Write each output of the net after one forward pass in `state`, float32 by its name, to `out` (.npz).

        `seed` draws what is random, -1 any. Raises FerError with the engine's reason.
        """
        ...

    def average(
        self,
        train_val: Path,
        weights: Sequence[Path],
        out: Path,
        *,
        state: State,
        batches: int | None = None,
        gpu: int | None = None,
        folder: Path | None = None,
        progress: Counter | None = None,
    ) -> int:
        """Write the mean of the weights files to `out`, the statistics of BatchNorm layers measured anew.

        These take `batches` forward passes of the training data in `state` (an epoch if None). Returns how many were
        made, 0 for a net without such layers. Raises FerError with the engine's reason.
        """
        ...

    def doctor(self) -> dict[str, Any]:
        """What it says of itself: versions and paths, "layer_types": [...], "gpu": bool, "one_step_ok": bool."""
        ...
