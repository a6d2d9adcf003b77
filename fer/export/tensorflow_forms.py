"""Forms that the TensorFlow engine writes, in a process of its own; LiteRT reads back those of TFLite."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fer.engines.tensorflow_engine import TensorFlow, layers_of
from fer.export.device_forms import BYTES, ToolReader, camera_images
from fer.export.form import EXACT, Job, Reader, Reads
from fer.export.onnx_form import parts_inside
from fer.export.tool import Tool
from fer.inference.classifier import MEAN
from fer.inference.model_record import ModelRecord
from fer.nets.lint import KNOWN_LAYERS
from fer.schema import caffe_pb2
from fer.system.arrays import write_array

LITERT = Tool("litert", "LiteRT", 50)
_KERAS = """
`{file}` is a model of Keras 3 on TensorFlow, which does the {parts} itself. Some of its layers may be fer's own, which
the second import brings:

```python
import keras
import fer.engines.tensorflow.model
model = keras.models.load_model("{file}")
probabilities = model.predict(face.transpose(1, 2, 0)[np.newaxis])[0]
```
"""
_SAVED_MODEL = """
`{file}/` is a SavedModel, which does the {parts} itself and needs nothing of fer's:

```python
import tensorflow as tf
loaded = tf.saved_model.load("{file}")
probabilities = loaded.serve(face.transpose(1, 2, 0)[np.newaxis]).numpy()[0]
```
"""
_INTERPRETER = """
```python
from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert; or Interpreter = tf.lite.Interpreter
interpreter = Interpreter("{file}")
interpreter.allocate_tensors()
given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
"""
_TFLITE = (
    """
`{file}` is for TFLite, one face a call; it does the {parts} itself:
"""
    + _INTERPRETER
    + """interpreter.set_tensor(given["index"], face.transpose(1, 2, 0)[np.newaxis])
interpreter.invoke()
probabilities = interpreter.get_tensor(made["index"])[0]
```
"""
)
_INTEGERS = (
    """
`{file}` calculates in 8-bit integers from its input to its output, one face a call; it does the {parts} itself, and
its integers were chosen by {calibration} images of Training{balanced}:
"""
    + _INTERPRETER
    + """limits, (scale, zero) = np.iinfo(given["dtype"]), given["quantization"]
pixels = np.clip(np.round(face.transpose(1, 2, 0) / scale) + zero, limits.min, limits.max).astype(given["dtype"])
interpreter.set_tensor(given["index"], pixels[np.newaxis])
interpreter.invoke()
scale, zero = made["quantization"]
probabilities = (interpreter.get_tensor(made["index"])[0].astype(np.float32) - zero) * scale
```
"""
)


@dataclass(frozen=True)
class TensorFlowForm:
    """A file that TensorFlow writes; `lines` use it."""

    name: str
    file: str
    runtime: str
    lines: str
    integers: bool = False
    tolerance: float = EXACT
    tool: Tool | None = None

    @property
    def camera_file(self) -> str:
        return self.file

    def refused(self, job: Job) -> Mapping[str, str]:
        known = TensorFlow().known_types(KNOWN_LAYERS)
        return {layer.name: f"{layer.type} layers" for layer in job.deploy.layer if layer.type not in known}

    def noise(self, job: Job) -> Mapping[str, float]:
        return {}

    def versions(self) -> Mapping[str, str]:
        return {"keras": version("keras")}

    def need(self) -> None:
        TensorFlow().set_up()

    def write(self, job: Job) -> None:
        self.write_as(self.name, job, job.model.directory / self.file)

    def write_as(self, form: str, job: Job, path: Path) -> None:
        """Write a form of TensorFlow's to `path`."""
        model, transform = job.model, job.model.transform
        with tempfile.TemporaryDirectory(prefix="fer-export-") as folder:
            images = None
            if form in INTEGERS:
                images = Path(folder, "calibration.npy")
                write_array(images, job.calibration())
            param = caffe_pb2.TransformationParameter(crop_size=transform.crop, scale=transform.scale)
            param.mean_file = str((model.directory / MEAN).absolute())
            files = (model.deploy.absolute(), model.weights.absolute())
            TensorFlow().set_up().export(form, *files, param, transform.shape, path.absolute(), calibration=images)

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        return {self.runtime: Reads(partial(self._read, (job.model.directory / self.file).absolute()))}, {}

    def _read(self, path: Path, images: np.ndarray) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="fer-export-") as folder:
            source, out = Path(folder, "images.npy"), Path(folder, "scores.npz")
            write_array(source, images)
            TensorFlow().set_up().read(self.name, path, source, out)
            with np.load(out, allow_pickle=False) as answer:
                probs: np.ndarray = answer["probs"]
                return probs

    def readme(self, record: ModelRecord) -> str:
        calibration = record.calibration
        return self.lines.format(
            file=self.file,
            parts=parts_inside(record),
            calibration=calibration.images if calibration else 0,
            balanced=", as many of each class" if calibration and calibration.balanced else "",
        )


@dataclass(frozen=True)
class TFLite(TensorFlowForm):
    """Read back by LiteRT, which devices have too; it needs no TensorFlow."""

    tool: Tool = LITERT

    def need(self) -> None:
        super().need()
        self.tool.need(self.name)

    def versions(self) -> Mapping[str, str]:
        return {**super().versions(), **self.tool.versions()}

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        path = job.model.directory / self.file
        return {self.runtime: ToolReader(self.tool, path, job.model.transform, BYTES)}, {}

    def noise(self, job: Job) -> Mapping[str, float]:
        with tempfile.TemporaryDirectory(prefix="fer-form-") as folder:
            floats = Path(folder, "floats.tflite")
            self.write_as(_FLOATS, job, floats)
            found = self.tool.noise(job.model.directory / self.file, floats, camera_images(job))
        names = [layer.name for layer in job.deploy.layer]
        # The answer bears the name of no layer.
        ends = [ratio for tensor, ratio in found.items() if tensor.startswith("StatefulPartitionedCall")]
        ratios = {name: ratio for tensor, ratio in found.items() for name in layers_of(tensor, names)}
        return {**dict.fromkeys(names[-1:], ends[0]), **ratios} if ends else ratios


_FLOATS = "tflite"
FORMS: Sequence[TensorFlowForm] = (
    TensorFlowForm("keras", "model.keras", "Keras", _KERAS),
    TensorFlowForm("savedmodel", "savedmodel", "TensorFlow (SavedModel)", _SAVED_MODEL),
    TFLite(_FLOATS, "model.tflite", "TFLite", _TFLITE),
    TFLite("tflite-int8", "model-int8.tflite", "TFLite, int8", _INTEGERS, integers=True),
    TFLite("tflite-uint8", "model-uint8.tflite", "TFLite, uint8", _INTEGERS, integers=True),
)
INTEGERS = frozenset(form.name for form in FORMS if form.integers)
