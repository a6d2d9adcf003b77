"""`model.json`: what an exported model is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fer.data.manifest import ImageSize
from fer.system.records import read_record

MODEL_JSON = "model.json"
EXPORT_AGAIN = "fer export makes it again"


@dataclass(frozen=True)
class ExportedSnapshot:
    """The snapshot, or the mean of those of the iterations `averaged`; `sha256` is of the run's file of it."""

    iteration: int
    averaged: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Preprocessing:
    """(pixel - mean) * scale of the centre crop; no crop where `crop_size` is 0."""

    crop_size: int
    scale: float


@dataclass(frozen=True)
class SplitAccuracy:
    images: int
    right: int
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The images of Training that integers were chosen by; `balanced`: as many of each class, but for one."""

    images: int
    seed: int
    balanced: bool


@dataclass(frozen=True)
class FormRecord:
    """A form besides Caffe's files, proved on val.

    difference  the largest of a probability from the run's own
    agreement   the share of images with the run's own class
    """

    file: str
    bytes: int
    integers: bool
    accuracy: float
    agreement: float
    difference: float


@dataclass(frozen=True)
class ModelRecord:
    """model.json.

    input, output              the blobs of deploy.prototxt that images go into and probabilities come from
    largest_difference_on_val  from the run's own probabilities, by the program that read the files
    not_checked                why other programs were not asked
    probe                      the probabilities of `fer.export.exported.probe_images`
    files                      SHA-256 by name
    forms                      what else there is of it, by the name that --format has for it
    calibration                what the integers of some of them were chosen by
    colour                     whether it wants colours (blue, green, red), not gray in each channel
    """

    FORMAT: ClassVar[int] = 1

    fer_version: str
    net: str
    snapshot: ExportedSnapshot
    classes: tuple[str, ...]
    image: ImageSize
    transform: Preprocessing
    input: str
    output: str
    onnx: bool
    data: str
    accuracy: dict[str, SplitAccuracy]
    largest_difference_on_val: dict[str, float]
    not_checked: dict[str, str]
    probe: tuple[tuple[float, ...], ...]
    files: dict[str, str]
    colour: bool = False
    forms: dict[str, FormRecord] = field(default_factory=dict)
    calibration: Calibration | None = None
    format: int = 1


def read_model_json(directory: Path) -> ModelRecord:
    """What an exported model says of itself. Raises FerError if it is damaged or of a newer format."""
    return read_record(directory / MODEL_JSON, ModelRecord, EXPORT_AGAIN)
