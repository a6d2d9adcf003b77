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
    """The snapshot, or the mean of those of the iterations `averaged` (of one alone: the exponential average up to it);
    `sha256` is of the run's file of it."""

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
    """The images of Training that integers were chosen by; `balanced`: as many of each class, but for one.

    `file` holds them, uint8 [N, C, H, W], `list` their names and labels; each with its hash.
    """

    images: int
    seed: int
    balanced: bool
    file: str = ""
    sha256: str = ""
    list: str = ""
    list_sha256: str = ""


@dataclass(frozen=True)
class FormRecord:
    """A form besides Caffe's files, proved on val by its own runtime.

    bytes         of the files that take images as a camera gives them
    accuracy      on val; `test` on test, scored once
    agreement     the share of val's images with the run's own class
    difference    the largest of a probability from the run's own, on val
    milliseconds  the median of one face, by one thread of the processor that it was exported on
    versions      of the packages that wrote and read it
    """

    file: str
    bytes: int
    integers: bool
    accuracy: float
    agreement: float
    difference: float
    test: float | None = None
    milliseconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)


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
    folded                     whether the net without BatchNorm and Scale layers is in folded/
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
    folded: bool = False
    format: int = 1


def read_model_json(directory: Path) -> ModelRecord:
    """What an exported model says of itself. Raises FerError if it is damaged or of a newer format."""
    return read_record(directory / MODEL_JSON, ModelRecord, EXPORT_AGAIN)
