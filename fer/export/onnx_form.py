"""The form ONNX: written here, read back by OpenCV and, where it is, onnxruntime."""

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fer.errors import FerError
from fer.export.form import Job, Reader
from fer.export.onnx_model import INPUT, to_onnx
from fer.formats.blobs import from_blob
from fer.formats.prototxt import read_weights
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

    def need(self) -> None:
        """fer's own packages suffice."""

    def write(self, job: Job) -> None:
        model = job.model
        blobs = {
            layer.name: [from_blob(blob, f"{model.weights}: layer {layer.name!r}").ravel() for blob in layer.blobs]
            for layer in read_weights(model.weights).layer
        }
        written = to_onnx(job.deploy, blobs, model.transform)
        (model.directory / ONNX).write_bytes(written.SerializeToString(deterministic=True))

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        path, classes = job.model.directory / ONNX, len(job.model.classes)
        readers: dict[str, Reader] = {"OpenCV (ONNX)": partial(_opencv, path, classes)}
        if importlib.util.find_spec("onnxruntime") is None:
            return readers, {"onnxruntime": "not installed"}
        return {**readers, "onnxruntime": partial(_onnxruntime, path)}, {}

    def readme(self, record: ModelRecord) -> str:
        return _README.format(parts=parts_inside(record))


def parts_inside(record: ModelRecord) -> str:
    """What a form does itself that takes a camera's pixels."""
    return "crop, mean and scale" if record.transform.crop_size else "mean and scale"


def _opencv(path: Path, classes: int, images: np.ndarray) -> np.ndarray:
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        raise FerError(f"OpenCV cannot read {path.name}: {error.err}\n--no-onnx leaves ONNX out") from None
    return answers(net, images.astype(np.float32), classes, path)


def _onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = images.astype(np.float32)
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    return np.concatenate([session.run(None, {INPUT: batch})[0] for batch in batches])
