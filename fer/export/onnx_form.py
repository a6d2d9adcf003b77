"""The form ONNX: written here, read back by OpenCV and, where it is, onnxruntime."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx

from fer.errors import FerError
from fer.export.form import EXACT, Job, Reader, Reads
from fer.export.onnx_model import INPUT, to_onnx
from fer.export.refused import refused_by
from fer.inference.classifier import BATCH, ONNX, answers
from fer.inference.model_record import ModelRecord

_README = """
`model.onnx` does the {parts} itself. With OpenCV or onnxruntime:

```python
net = cv2.dnn.readNetFromONNX("model.onnx")
net.setInput(face[np.newaxis])
probabilities = net.forward()[0]
```

```python
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(None, {{"pixels": face[np.newaxis]}})[0][0]
```
"""


@dataclass(frozen=True)
class Onnx:
    """`model.onnx`."""

    name: str = "onnx"
    file: str = ONNX
    integers: bool = False
    tolerance: float = EXACT
    tool: None = None

    @property
    def camera_file(self) -> str:
        return self.file

    def need(self) -> None:
        """fer's own packages suffice."""

    def versions(self) -> Mapping[str, str]:
        return {"onnx": onnx.__version__}

    def refused(self, job: Job) -> Mapping[str, str]:
        return refused_by(lambda: to_onnx(job.deploy, job.blobs, job.model.transform))

    def noise(self, job: Job) -> Mapping[str, float]:
        return {}

    def write(self, job: Job) -> None:
        written = to_onnx(job.deploy, job.blobs, job.model.transform, job.batch)
        (job.model.directory / ONNX).write_bytes(written.SerializeToString(deterministic=True))

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        path, classes = job.model.directory / ONNX, len(job.model.classes)
        readers: dict[str, Reader] = {"OpenCV (ONNX)": Reads(partial(_opencv, path, classes, job.batch))}
        if importlib.util.find_spec("onnxruntime") is None:
            return readers, {"onnxruntime": "not installed"}
        return {**readers, "onnxruntime": Reads(partial(_onnxruntime, path, job.batch))}, {}

    def readme(self, record: ModelRecord) -> str:
        return _README.format(parts=parts_inside(record))


def parts_inside(record: ModelRecord) -> str:
    """What a form does itself that takes a camera's pixels."""
    return "crop, mean and scale" if record.transform.crop_size else "mean and scale"


def _opencv(path: Path, classes: int, batch: int | None, images: np.ndarray) -> np.ndarray:
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise FerError(f"OpenCV cannot read {path.name}: {error.err}\n--no-onnx leaves ONNX out") from None
    if batch is None:
        return answers(net, images.astype(np.float32), classes, path)
    return np.concatenate([answers(net, pixels, classes, path) for pixels in _full(images, batch)])[: len(images)]


def _onnxruntime(path: Path, batch: int | None, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = [session.run(None, {INPUT: pixels})[0] for pixels in _full(images, batch or BATCH)]
    return np.concatenate(told)[: len(images)]


def _full(images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """float32 batches, the last one filled up with its last image."""
    for start in range(0, len(images), batch):
        pixels = images[start : start + batch].astype(np.float32)
        yield np.concatenate([pixels, *[pixels[-1:]] * (batch - len(pixels))])
