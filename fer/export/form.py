"""What a form of an exported model is: one more kind of file, that its own runtime reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fer.inference.classifier import Model
from fer.inference.model_record import ModelRecord
from fer.schema import caffe_pb2

Reader = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, C, H, W] -> float32 [N, K]."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """What a form is made of: the exported model, its deploy net, and images of Training to choose integers by.

    `calibration` gives uint8 [N, C, H, W]; it reads the data when it is called.
    """

    model: Model
    deploy: caffe_pb2.NetParameter
    calibration: Callable[[], np.ndarray]
    tell: Tell


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

    def need(self) -> None:
        """Raises FerError, with the line that installs it, where what writes and reads the form is not there."""
        ...

    def write(self, job: Job) -> None:
        """Write `file` into the model's directory. Raises FerError for a net that the form cannot hold."""
        ...

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        """Programs at hand that read `file` back, by name, and why others are not."""
        ...

    def readme(self, record: ModelRecord) -> str:
        """Markdown: what the file is, and the lines that use it, with `face` there as the README has it."""
        ...


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in [path, *path.rglob("*")] if each.is_file())
