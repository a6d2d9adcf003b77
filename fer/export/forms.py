"""The forms that `fer export --format` writes: of ONNX, ncnn and OpenVINO; in float32, in halves and in integers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.errors import UsageError
from fer.export.form import BYTES, Answers, Form, Server, Source, Tool, given
from fer.export.ncnn_model import to_ncnn
from fer.export.onnx_model import TRANSFORM_NODES, to_onnx

ONNXRUNTIME = Tool("onnxruntime", "onnxruntime", 60)
NCNN = Tool("ncnn", "ncnn", 30)
OPENVINO = Tool("openvino", "OpenVINO and nncf", 150)
EXACT, HALF = 1e-4, 5e-3
_ONNX = """\
session = onnxruntime.InferenceSession("NAME/bytes.onnx")
probabilities = session.run(None, {"pixels": face[np.newaxis]})[0][0]"""
_OPENVINO = """\
compiled = openvino.Core().compile_model("NAME/bytes.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
probabilities = compiled([face[np.newaxis]])[compiled.output(0)][0]"""
_NCNN = """\
net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.load_param("NAME/bytes.param")
net.load_model("NAME/bytes.bin")
extractor = net.create_extractor()
extractor.input("pixels", ncnn.Mat(face).clone())
probabilities = np.array(extractor.extract("probabilities")[1])"""


@dataclass(frozen=True)
class Converted:
    """By a verb of a tool, from float32 ONNX, to one file; `lines` load it, with NAME for its own."""

    name: str
    tool: Tool
    verb: str
    suffix: str
    tolerance: float | None
    lines: str

    @property
    def reading(self) -> str:
        return self.lines.replace("NAME", self.name)

    def write(self, source: Source, kind: str, folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            plain = Path(scratch, "plain.onnx")
            made = to_onnx(source.net, source.blobs, source.before(kind))
            plain.write_bytes(made.SerializeToString(deterministic=True))
            out = folder / f"{kind}{self.suffix}"
            self.tool.run(self.verb, plain, *_calibration(source, kind, scratch), "--out", out)

    def predict(self, folder: Path, kind: str, inputs: np.ndarray) -> Answers:
        return self.tool.predict(folder / f"{kind}{self.suffix}", inputs)

    def serve(self, folder: Path) -> Server:
        return Server(self.tool, folder / f"{BYTES}{self.suffix}")


@dataclass(frozen=True)
class Ncnn:
    """By our own writer; the ranges of activations are those that ncnn itself gives for the calibration images."""

    name: str
    tolerance: float | None
    tool: Tool = NCNN

    @property
    def reading(self) -> str:
        return _NCNN.replace("NAME", self.name)

    def write(self, source: Source, kind: str, folder: Path) -> None:
        ranges = self._ranges(source, kind) if self.tolerance is None else None
        _write_ncnn(source, kind, folder, ranges)

    def predict(self, folder: Path, kind: str, inputs: np.ndarray) -> Answers:
        return self.tool.predict(folder / f"{kind}.param", inputs)

    def serve(self, folder: Path) -> Server:
        return Server(self.tool, folder / f"{BYTES}.param")

    def _ranges(self, source: Source, kind: str) -> dict[str, float]:
        """The largest absolute value of what each layer that can be int8 reads, over the calibration images."""
        with tempfile.TemporaryDirectory(prefix="fer-form-") as scratch:
            read = _write_ncnn(source, kind, Path(scratch), None)
            (_, images, *_), out = _calibration(source, kind, scratch), Path(scratch, "ranges.npz")
            names = sorted(set(read.values()))
            self.tool.run("ranges", Path(scratch, f"{kind}.param"), "--images", images, "--blobs", *names, "--out", out)
            with np.load(out, allow_pickle=False) as rows:
                return {layer: float(rows[blob].max()) for layer, blob in read.items()}


def _write_ncnn(source: Source, kind: str, folder: Path, ranges: dict[str, float] | None) -> dict[str, str]:
    """Write the two files; the blob that each layer reads that can be int8."""
    written = to_ncnn(source.net, source.blobs, source.before(kind), ranges)
    (folder / f"{kind}.param").write_text(written.param, encoding="utf-8")
    (folder / f"{kind}.bin").write_bytes(written.bin)
    return written.quantizable


def _calibration(source: Source, kind: str, folder: str) -> tuple[object, ...]:
    """The words that give a tool the calibration images, and the nodes of the transform, which stay in float32."""
    path = Path(folder, "calibration.npy")
    np.save(path, given(source.calibration, source.transform, kind))
    return ("--images", path, *(("--keep", *TRANSFORM_NODES) if kind == BYTES else ()))


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Converted("onnx-fp16", ONNXRUNTIME, "fp16", ".onnx", HALF, _ONNX),
        Converted("onnx-int8", ONNXRUNTIME, "int8", ".onnx", None, _ONNX),
        Ncnn("ncnn", EXACT),
        Ncnn("ncnn-int8", None),
        Converted("openvino", OPENVINO, "convert", ".xml", EXACT, _OPENVINO),
        Converted("openvino-int8", OPENVINO, "int8", ".xml", None, _OPENVINO),
    )
}
BY_HAND = {
    "mnn": "MNN 3.6 reads the shipped Caffe files; its command installs packages and reports its use: call _tools",
    "coreml": "coremltools 9 runs on macOS only, and reads neither Caffe nor ONNX",
    "sophgo": "tpu-mlir 1.30 (Python 3.10) reads the shipped Caffe files",
    "c": "emx-onnx-cgen 1.4 writes plain C from model.onnx",
}
"""Named, and not written: what is known of them stands in an export's README."""


def find_forms(names: str) -> list[Form]:
    """The forms of a list with commas. Raises UsageError for one that is not known."""
    found = []
    for name in dict.fromkeys(filter(None, names.replace(" ", "").split(","))):
        if name in BY_HAND:
            raise UsageError(f"--format {name}: by hand alone: {BY_HAND[name]}")
        if name not in FORMS:
            raise UsageError(f"--format {name}: there is {', '.join(FORMS)}; by hand: {', '.join(BY_HAND)}")
        found.append(FORMS[name])
    return found
