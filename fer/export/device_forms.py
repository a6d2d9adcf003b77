"""Forms of ONNX, ncnn and OpenVINO for devices: in float32, in halves and in integers.

Each is made of the folded net, and of two kinds: `bytes` takes images as a camera gives them, with crop, mean and scale
inside; `floats` takes what the caller has transformed.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from fer.export.form import EXACT, Job, Reader
from fer.export.ncnn_model import Written, to_ncnn
from fer.export.onnx_form import parts_inside
from fer.export.onnx_model import OUTPUT, TRANSFORM_NODES, to_onnx
from fer.export.refused import refused_by
from fer.export.tool import Tool
from fer.inference.model_record import ModelRecord
from fer.nets.transform import Transform
from fer.system.arrays import write_array

ONNXRUNTIME = Tool("onnxruntime", "onnxruntime", 60)
NCNN = Tool("ncnn", "ncnn", 30)
OPENVINO = Tool("openvino", "OpenVINO and nncf", 150)
HALF = 5e-3
NOISE_IMAGES = 50
BYTES, FLOATS = "bytes", "floats"
INPUTS = (BYTES, FLOATS)
_ONNX = """\
import onnxruntime
session = onnxruntime.InferenceSession("{name}/bytes.onnx")
probabilities = session.run(None, {{"pixels": face[np.newaxis]}})[0][0]"""
_OPENVINO = """\
import openvino
compiled = openvino.Core().compile_model("{name}/bytes.xml", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
probabilities = compiled([face[np.newaxis]])[compiled.output(0)][0]"""
_NCNN = """\
import ncnn
net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.load_param("{name}/bytes.param")
net.load_model("{name}/bytes.bin")
extractor = net.create_extractor()
extractor.input("pixels", ncnn.Mat(face).clone())
probabilities = np.array(extractor.extract("probabilities")[1])"""
_README = """
`{name}/` holds it for {title}: `bytes` does the {parts} itself, `floats` takes a face transformed as for pycaffe.

```python
{lines}
```
"""


@dataclass
class ToolReader:
    """A form of one kind of input, read by its tool."""

    tool: Tool
    path: Path
    transform: Transform
    kind: str
    milliseconds: float | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        answers = self.tool.predict(self.path, given(images, self.transform, self.kind))
        self.milliseconds = answers.milliseconds
        return answers.probs


@dataclass(frozen=True)
class ToolForm:
    """What the forms of tools have in common; `suffix` is that of the file that its runtime is given."""

    name: str
    tool: Tool
    suffix: str
    lines: str
    integers: bool = False
    tolerance: float = EXACT

    @property
    def file(self) -> str:
        return self.name

    @property
    def camera_file(self) -> str:
        return f"{self.file}/{BYTES}{self.suffix}"

    def need(self) -> None:
        self.tool.need(self.name)

    def versions(self) -> Mapping[str, str]:
        return self.tool.versions()

    def write(self, job: Job) -> None:
        folder = job.model.directory / self.file
        folder.mkdir()
        for kind in INPUTS:
            self.write_kind(job, kind, folder)

    def write_kind(self, job: Job, kind: str, folder: Path) -> None:
        """Write it for one kind of input."""
        raise NotImplementedError

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        folder, transform = job.model.directory / self.file, job.model.transform
        paths = {kind: folder / f"{kind}{self.suffix}" for kind in INPUTS}
        return {f"{self.name}, {kind}": ToolReader(self.tool, paths[kind], transform, kind) for kind in INPUTS}, {}

    def refused(self, job: Job) -> Mapping[str, str]:
        raise NotImplementedError

    def noise(self, job: Job) -> Mapping[str, float]:
        return {}

    def readme(self, record: ModelRecord) -> str:
        lines = self.lines.format(name=self.name)
        return _README.format(name=self.name, title=self.tool.title, parts=parts_inside(record), lines=lines)


@dataclass(frozen=True)
class Converted(ToolForm):
    """By a verb of a tool, from float32 ONNX, to one file."""

    verb: str = ""

    def refused(self, job: Job) -> Mapping[str, str]:
        return refused_by(lambda: self._made(job, None))

    def noise(self, job: Job) -> Mapping[str, float]:
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            plain = self._plain(job, BYTES, scratch)
            found = self.tool.noise(job.model.directory / self.camera_file, plain, camera_images(job))
        last = job.folded.net.layer[-1].name  # which may have become one with the answer
        return {last: found[OUTPUT], **found} if OUTPUT in found else found

    def _plain(self, job: Job, kind: str, folder: str) -> Path:
        path = Path(folder, "plain.onnx")
        path.write_bytes(self._made(job, before(job, kind)).SerializeToString(deterministic=True))
        return path

    def _made(self, job: Job, transform: Transform | None) -> onnx.ModelProto:
        return to_onnx(job.folded.net, job.folded.blobs, transform)

    def write_kind(self, job: Job, kind: str, folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            plain = self._plain(job, kind, scratch)
            words: list[object] = ["--keep", *TRANSFORM_NODES] if kind == BYTES else []
            if self.integers:
                words += ["--images", _calibration(job, kind, scratch)]
            self.tool.run(self.verb, plain, *words, "--out", folder / f"{kind}{self.suffix}")


@dataclass(frozen=True)
class Ncnn(ToolForm):
    """By our own writer; the ranges of activations are those that ncnn itself gives for the calibration images."""

    def refused(self, job: Job) -> Mapping[str, str]:
        return refused_by(lambda: to_ncnn(job.folded.net, job.folded.blobs, None))

    def noise(self, job: Job) -> Mapping[str, float]:
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            made = _write_ncnn(job, BYTES, Path(scratch), None).made
            plain = Path(scratch, f"{BYTES}{self.suffix}")
            found = self.tool.noise(job.model.directory / self.camera_file, plain, camera_images(job))
            return {made[blob]: ratio for blob, ratio in found.items() if blob in made}

    def write_kind(self, job: Job, kind: str, folder: Path) -> None:
        _write_ncnn(job, kind, folder, self._ranges(job, kind) if self.integers else None)

    def _ranges(self, job: Job, kind: str) -> dict[str, float]:
        """The largest absolute value of what each layer that can be int8 reads, over the calibration images."""
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            read = _write_ncnn(job, kind, Path(scratch), None).quantizable
            out, names = Path(scratch, "ranges.npz"), sorted(set(read.values()))
            words = ("--images", _calibration(job, kind, scratch), "--blobs", *names, "--out", out)
            self.tool.run("ranges", Path(scratch, f"{kind}.param"), *words)
            with np.load(out, allow_pickle=False) as rows:
                return {layer: float(rows[blob].max()) for layer, blob in read.items()}


def camera_images(job: Job) -> np.ndarray:
    """float32 [N, C, H, W], some of those of calibration, that what layers give is measured on."""
    return job.calibration()[:NOISE_IMAGES].astype(np.float32)


def given(images: np.ndarray, transform: Transform, kind: str) -> np.ndarray:
    """float32, what a form of that kind of input is given for images uint8 [N, C, H, W]."""
    return images.astype(np.float32) if kind == BYTES else transform.views(images)[0]


def before(job: Job, kind: str) -> Transform | None:
    """What a form of that kind of input does before the net."""
    return job.model.transform if kind == BYTES else None


def _calibration(job: Job, kind: str, folder: str) -> Path:
    path = Path(folder, "calibration.npy")
    write_array(path, given(job.calibration(), job.model.transform, kind))
    return path


def _write_ncnn(job: Job, kind: str, folder: Path, ranges: Mapping[str, float] | None) -> Written:
    """Write the two files."""
    written = to_ncnn(job.folded.net, job.folded.blobs, before(job, kind), ranges)
    (folder / f"{kind}.param").write_text(written.param, encoding="utf-8")
    (folder / f"{kind}.bin").write_bytes(written.bin)
    return written


_onnx = partial(Converted, tool=ONNXRUNTIME, suffix=".onnx", lines=_ONNX)
_openvino = partial(Converted, tool=OPENVINO, suffix=".xml", lines=_OPENVINO)
_ncnn = partial(Ncnn, tool=NCNN, suffix=".param", lines=_NCNN)
FORMS: Sequence[ToolForm] = (
    _onnx("onnx-fp16", verb="fp16", tolerance=HALF),
    _onnx("onnx-int8", verb="int8", integers=True),
    _ncnn("ncnn"),
    _ncnn("ncnn-int8", integers=True),
    _openvino("openvino", verb="convert"),
    _openvino("openvino-int8", verb="int8", integers=True),
)
