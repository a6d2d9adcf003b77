"""What a form of an exported model is: one more kind of file, that its own runtime reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fer.formats.blobs import blobs_by_layer
from fer.formats.prototxt import read_weights
from fer.inference.classifier import Model
from fer.inference.model_record import ModelRecord
from fer.nets.fold import Folded, fold
from fer.schema import caffe_pb2

if TYPE_CHECKING:
    from fer.export.tool import Tool

Tell = Callable[[str, int, int], None]
EXACT = 1e-4
"""The most by which a probability may differ from the run's own."""


class Reader(Protocol):
    """A program that reads a form back."""

    @property
    def milliseconds(self) -> float | None:
        """The median of one image by one thread, in the last call; None where it is not measured."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, K] of uint8 [N, C, H, W]."""
        ...


@dataclass(frozen=True)
class Reads:
    """A reader that is a function."""

    function: Callable[[np.ndarray], np.ndarray]
    milliseconds: float | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.function(images)


@dataclass(frozen=True)
class Job:
    """What a form is made of: the exported model, its deploy net, and images of Training to choose integers by.

    `calibration` gives uint8 [N, C, H, W]; it reads the data when it is called. `batch` is how many images model.onnx
    takes at once (None: any number).
    """

    model: Model
    deploy: caffe_pb2.NetParameter
    calibration: Callable[[], np.ndarray]
    tell: Tell
    batch: int | None = None

    @cached_property
    def blobs(self) -> dict[str, list[np.ndarray]]:
        """float32, the parameters of each layer by name, in Caffe's order."""
        return blobs_by_layer(read_weights(self.model.weights), self.model.weights)

    @cached_property
    def folded(self) -> Folded:
        """The net without its BatchNorm and Scale layers."""
        return fold(self.deploy, self.blobs)


class Form(Protocol):
    """One form. To add one: a class like this in a module of its own, and a line in forms.py."""

    @property
    def name(self) -> str:
        """What --format calls it."""
        ...

    @property
    def file(self) -> str:
        """Its file or folder in the exported directory."""
        ...

    @property
    def integers(self) -> bool:
        """Whether it calculates in integers, so that it is held to agree and not to give the same numbers."""
        ...

    @property
    def tolerance(self) -> float:
        """The most by which a probability may differ from the run's own, where it does not."""
        ...

    @property
    def tool(self) -> "Tool | None":
        """What writes and reads it, in an environment of its own; None where fer's own packages or extras do."""
        ...

    @property
    def camera_file(self) -> str:
        """The file, from the model's directory, that takes images as a camera gives them."""
        ...

    def need(self) -> None:
        """Raises FerError, with the line that installs it, where what writes and reads the form is not there."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Of the packages that write and read it."""
        ...

    def refused(self, job: Job) -> Mapping[str, str]:
        """What of the net the form is known not to hold, as "MVN layers", by the layer's name."""
        ...

    def write(self, job: Job) -> None:
        """Write `file` into the model's directory. Raises FerError for a net that the form cannot hold."""
        ...

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        """Programs at hand that read `file` back, by name, and why others are not."""
        ...

    def noise(self, job: Job) -> Mapping[str, float]:
        """The signal to noise, in decibels, of what each layer of the written form gives to images of calibration.

        By the layer's name; empty where its runtime shows no more than the answer.
        """
        ...

    def readme(self, record: ModelRecord) -> str:
        """Markdown: what the file is, and the lines that use it, with `face` there as the README has it."""
        ...


def size_of(path: Path, names: Sequence[str] = ("*",)) -> int:
    """Bytes of a file, or of the files of a folder that have one of the names."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for name in names for each in path.rglob(name) if each.is_file())
