"""explained.npz beside a run's scores: pictures of what its chosen snapshot does, computed once, for reports."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fer.errors import FerError
from fer.runs.scores import SCORE_AGAIN
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import write_bytes
from fer.system.hashes import content_hash
from fer.system.records import decode_record, seal_record

_ARRAYS = ("images", "labels", "classes", "probs", "occlusion", "grad_cam", "filters", "batch", "batch_labels")


@dataclass(frozen=True)
class ExplainedMeta:
    """What explained.npz was made of, as in ScoresMeta, and how.

    files       of val's images, N
    grad_cam, filters, batch   why there are none; "" where there are some
    batch_of    the engine that gave the batch
    """

    FORMAT: ClassVar[int] = 1

    weights_sha256: str
    database_sha256: str
    deploy_sha256: str
    transform_sha256: str
    net_sha256: str
    classes: int
    files: tuple[str, ...] = ()
    grad_cam: str = ""
    filters: str = ""
    batch: str = ""
    batch_of: str = ""
    arrays_sha256: str = ""
    format: int = 1


@dataclass(frozen=True)
class Explained:
    """What a net looks at in some faces of val, its first filters, and a batch of the training as the net sees it.

    images     uint8 [N,C,H,W], as they are stored
    labels     int64 [N], true classes
    classes    int64 [N], those that the net answers, to which the maps belong
    probs      float32 [N], its probabilities for them
    occlusion  float32 [N,H,W]: how far that probability falls where a patch lies
    grad_cam   float32 [N,H,W], from 0 to 1; [0,H,W] where there is none
    filters    float32 [O,I,h,w], of the first convolution; [0,0,0,0] where there is none
    batch      float32 [B,C,h,w]; [0,0,0,0] where there is none
    batch_labels   float32 [B], or [0] where they are not single numbers
    """

    meta: ExplainedMeta
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    probs: NDArray[np.float32]
    occlusion: NDArray[np.float32]
    grad_cam: NDArray[np.float32]
    filters: NDArray[np.float32]
    batch: NDArray[np.float32]
    batch_labels: NDArray[np.float32]


def read_explained(path: Path) -> Explained:
    """What the file holds. Raises FerError where it is missing, damaged or not as it was written."""
    try:
        arrays = read_arrays(path, (*_ARRAYS, "meta"))
    except FileNotFoundError:
        raise FerError(f"{path} is missing: fer report RUN makes it") from None
    except DamagedArchive as error:
        raise FerError(f"{path}: damaged: {error}. {SCORE_AGAIN}") from error
    meta = decode_record(str(arrays.pop("meta")), ExplainedMeta, f"{path}: meta", SCORE_AGAIN)
    if meta.arrays_sha256 != content_hash(*(arrays[name] for name in _ARRAYS)):
        raise FerError(f"{path}: edited since fer wrote it. {SCORE_AGAIN}")
    return Explained(meta, **arrays)


def write_explained(path: Path, explained: Explained) -> None:
    """Write the file, atomically."""
    arrays = {name: getattr(explained, name) for name in _ARRAYS}
    sealed = seal_record(replace(explained.meta, arrays_sha256=content_hash(*arrays.values())))
    stream = io.BytesIO()
    np.savez_compressed(stream, meta=np.array(sealed.decode()), **arrays)
    write_bytes(path, stream.getvalue(), parents=True)
