"""Forms for chips of their own: written by their makers' toolkits, read back by their makers' simulators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from fer.export.device_forms import BYTES, Converted, given
from fer.export.form import Job
from fer.export.onnx_model import to_onnx
from fer.export.refused import refused_by
from fer.export.tool import Tool
from fer.nets.fold import Folded
from fer.nets.shapes import infer_shapes
from fer.nets.transform import Transform
from fer.schema import caffe_pb2
from fer.system.arrays import write_array

RKNN = Tool("rknn", "rknn-toolkit2", 195, "3.11")
NNCASE = Tool("kmodel", "nncase", 30, "3.10")
CHIPS = ("rk3588", "rk3576", "rk3566", "rk3562", "rv1106")
"""Rockchip's; the first one needs not be named, rk3568 is an rk3566 here, and rv1103 an rv1106."""
_RKNN = """\
from rknnlite.api import RKNNLite  # on the board; Python is not on those of rv1103 and rv1106, which have C alone
rknn = RKNNLite()
rknn.load_rknn("{{name}}/bytes.{chip}.rknn")
rknn.init_runtime()
probabilities = rknn.inference(inputs=[face[np.newaxis]], data_format=["nchw"])[0][0]"""
_KMODEL = """\
import nncase  # 1.9, its simulator; on the board the SDK loads the file
simulator = nncase.Simulator()
simulator.load_model(open("{name}/bytes.kmodel", "rb").read())
simulator.set_input_tensor(0, nncase.RuntimeTensor.from_numpy(face[np.newaxis]))
simulator.run()
probabilities = simulator.get_output_tensor(0).to_numpy()[0]"""


@dataclass(frozen=True)
class Simulated(Converted):
    """In a simulator, which shows the answer and nothing on the way to it."""

    verb: str = "int8"
    integers: bool = True

    def noise(self, job: Job) -> Mapping[str, float]:
        return {}

    def _made(self, job: Job, transform: Transform | None) -> onnx.ModelProto:
        return to_onnx(job.folded.net, job.folded.blobs, transform, batch=1)


@dataclass(frozen=True)
class Rknn(Simulated):
    """For one of Rockchip's chips. Its simulator reads no .rknn, but builds the same from what `simulator/` has."""

    def write_kind(self, job: Job, kind: str, folder: Path) -> None:
        sources = folder / "simulator" / kind
        sources.mkdir(parents=True)
        model = self._plain(job, kind, str(sources))
        images = job.calibration()
        images = images if kind == BYTES else given(images, job.model.transform, kind)
        write_array(sources / "calibration.npy", images)
        self.tool.run(self.verb, model.absolute(), "--out", (folder / f"{kind}{self.suffix}").absolute())


@dataclass(frozen=True)
class Kmodel(Simulated):
    """For Kendryte's K210, whose toolkit knows no InnerProduct."""

    def refused(self, job: Job) -> Mapping[str, str]:
        return refused_by(lambda: to_onnx(job.folded.net, job.folded.blobs, None)) or super().refused(job)

    def _made(self, job: Job, transform: Transform | None) -> onnx.ModelProto:
        alike = as_convolutions(job.folded)
        return onnx.shape_inference.infer_shapes(to_onnx(alike.net, alike.blobs, transform, batch=1))


def as_convolutions(folded: Folded) -> Folded:
    """The same net with a Convolution of the bottom's size for each InnerProduct; one that none can be stays.

    Its blobs keep four axes, where an InnerProduct's have two.
    """
    net, blobs, places = caffe_pb2.NetParameter(name=folded.net.name), dict(folded.blobs), dict[str, str]()
    shapes = infer_shapes(folded.net).blobs
    for old in folded.net.layer:
        layer = caffe_pb2.LayerParameter()
        layer.CopyFrom(old)
        layer.bottom[:] = [places.get(name, name) for name in old.bottom]
        if layer.type == "Flatten" and (layer.flatten_param.axis, layer.flatten_param.end_axis) == (1, -1):
            places[layer.top[0]] = layer.bottom[0]  # a convolution takes it as it is
            continue
        places.update({name: name for name in layer.top})
        if layer.type == "InnerProduct":
            layer = _as_convolution(layer, infer_shapes(net).blobs[layer.bottom[0]], blobs)
        elif layer.type in ("Softmax", "Concat"):
            param = layer.softmax_param if layer.type == "Softmax" else layer.concat_param
            param.axis %= len(shapes[old.bottom[0]])  # the last of two is not the last of four
        net.layer.append(layer)
    return Folded(net, blobs, folded.left)


def _as_convolution(
    layer: caffe_pb2.LayerParameter, shape: Sequence[int], blobs: dict[str, list[np.ndarray]]
) -> caffe_pb2.LayerParameter:
    """The layer, and in `blobs` its weights in their new shape."""
    param = layer.inner_product_param
    if param.axis != 1 or len(shape) != 4:
        return layer
    rows, *bias = blobs[layer.name]
    blobs[layer.name] = [np.reshape(rows.T if param.transpose else rows, (param.num_output, *shape[1:])), *bias]
    made = caffe_pb2.LayerParameter(name=layer.name, type="Convolution", bottom=layer.bottom, top=layer.top)
    made.convolution_param.num_output, made.convolution_param.bias_term = param.num_output, param.bias_term
    made.convolution_param.kernel_h, made.convolution_param.kernel_w = shape[2:]
    return made


def _rknn(chip: str) -> Rknn:
    name = "rknn" if chip == CHIPS[0] else f"rknn-{chip}"
    return Rknn(name, RKNN, f".{chip}.rknn", _RKNN.format(chip=chip))


FORMS: Sequence[Simulated] = (
    *map(_rknn, CHIPS),
    Kmodel("kmodel", NNCASE, ".kmodel", _KMODEL),
)
