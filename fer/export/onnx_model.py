"""A deploy net with its weights as an ONNX model, which does the crop, the mean and the scale itself.

Covers the layers that faces are classified with; any other is an error, never a guess.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer import __version__
from fer.export.refused import LayersRefused, Refused, check_types
from fer.nets.fold import statistics
from fer.nets.shapes import Shape, infer_shapes, pair, pooling_windows
from fer.nets.transform import Transform
from fer.schema import caffe_pb2

INPUT, OUTPUT = "pixels", "probabilities"
TRANSFORM_NODES = ("cropped", "centred", "scaled")
OPSET, IR_VERSION = 13, 8  # of 2021: OpenCV 4.8 and every other reader of today has them


class _Graph:
    """Nodes and constants as they are added, each with a name of its own: a layer may be called "mean"."""

    def __init__(self) -> None:
        self._names = {INPUT, OUTPUT}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, output: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = output if output == OUTPUT else self._free(output)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        """Whole numbers stay int64, all others become float32."""
        array = np.asarray(values)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, name := self._free(name)))
        return name

    def _free(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


@dataclass(frozen=True)
class _Step:
    """One layer to be told in ONNX: what holds its bottoms, the shapes of bottoms and tops, its parameters."""

    graph: _Graph
    layer: caffe_pb2.LayerParameter
    inputs: list[str]
    bottoms: list[Shape]
    tops: list[Shape]
    blobs: list[np.ndarray]

    def add(self, kind: str, inputs: Sequence[str], part: str = "", **attributes: Any) -> str:
        """A node that is the layer, or a part of it."""
        return self.graph.add(kind, f"{self.layer.name}{part}", inputs, **attributes)

    def constant(self, part: str, values: Any) -> str:
        return self.graph.constant(f"{self.layer.name}/{part}", values)

    @property
    def parameters(self) -> list[str]:
        return [self.constant(part, blob) for part, blob in zip(("weight", "bias"), self.blobs, strict=False)]


def to_onnx(
    deploy: caffe_pb2.NetParameter,
    blobs: Mapping[str, Sequence[np.ndarray]],
    transform: Transform | None,
    batch: int | None = None,
) -> onnx.ModelProto:
    """The model from `pixels`, float32 [N, C, H, W] of 0..255, to `probabilities`, float32 [N, K].

    Without a `transform` the pixels are those that the net itself takes; `batch` is N where that is not to be free.
    `blobs` are each layer's parameters in Caffe's order. Raises LayersRefused, of all that cannot be in ONNX.
    """
    check_types("ONNX", deploy, _RULES)
    graph, shapes = _Graph(), infer_shapes(deploy)
    holders: dict[str, str] = {}  # what holds a blob now: Caffe's layers work in place, ONNX's nodes do not
    refused: dict[str, str] = {}
    for layer in deploy.layer:
        if layer.type == "Input":
            holders[layer.top[0]] = _transformed(graph, transform) if transform else INPUT
            taken = transform.shape if transform else shapes.blobs[layer.top[0]][1:]
            continue
        inputs = [holders[name] for name in layer.bottom]
        bottoms, tops = ([shapes.blobs[name] for name in names] for names in (layer.bottom, layer.top))
        wanted = shapes.params.get(layer.name, [])
        own = [np.reshape(blob, shape) for blob, shape in zip(blobs.get(layer.name, []), wanted, strict=True)]
        step = _Step(graph, layer, inputs, bottoms, tops, own)
        try:
            made = _RULES[layer.type](step)
        except Refused as what:
            made, refused[layer.name] = inputs[0], str(what)
        holders.update(dict.fromkeys(layer.top, made))
    if refused:
        raise LayersRefused("ONNX", refused)
    last = deploy.layer[-1].top[0]
    graph.add("Flatten", OUTPUT, [holders[last]], axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            deploy.name or "net",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch or "N", *taken])],
            [
                helper.make_tensor_value_info(
                    OUTPUT, TensorProto.FLOAT, [batch or "N", int(np.prod(shapes.blobs[last][1:]))]
                )
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fer",
        producer_version=__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _transformed(graph: _Graph, transform: Transform) -> str:
    """The centre crop, less the mean, times the scale."""
    (top, left), holder = transform.offsets()[0], INPUT
    rows, columns = transform.window(top, left)
    if transform.crop:
        spans = {"starts": [top, left], "ends": [rows.stop, columns.stop], "axes": [2, 3]}
        span = [graph.constant(f"crop/{name}", np.array(numbers, np.int64)) for name, numbers in spans.items()]
        holder = graph.add("Slice", "cropped", [holder, *span])
    if transform.mean is not None:
        mean = transform.mean if transform.mean.shape[1:] == (1, 1) else transform.mean[:, rows, columns]
        holder = graph.add("Sub", "centred", [holder, graph.constant("mean", mean[np.newaxis])])
    if transform.scale != 1:
        holder = graph.add("Mul", "scaled", [holder, graph.constant("scale", transform.scale)])
    return holder


def _convolution(step: _Step) -> str:
    param = step.layer.convolution_param
    pad = pair(param.pad, param.pad_h, param.pad_w, 0)
    return step.add(
        "Conv",
        [*step.inputs, *step.parameters],
        kernel_shape=step.blobs[0].shape[2:],
        strides=pair(param.stride, param.stride_h, param.stride_w, 1),
        pads=[*pad, *pad],
        dilations=pair(param.dilation, 0, 0, 1),
        group=param.group,
    )


def _inner_product(step: _Step) -> str:
    param = step.layer.inner_product_param
    if param.axis != 1:
        raise Refused(f"InnerProduct on axis {param.axis}")
    flat = step.add("Flatten", step.inputs, "/flat", axis=1)
    return step.add("Gemm", [flat, *step.parameters], transB=int(not param.transpose))


def _pooling(step: _Step) -> str:
    param = step.layer.pooling_param
    kinds = {caffe_pb2.PoolingParameter.MAX: "Max", caffe_pb2.PoolingParameter.AVE: "Average"}
    if param.pool not in kinds or len(step.tops) > 1:
        raise Refused("pooling with a mask" if param.pool in kinds else "STOCHASTIC pooling")
    kind, inputs = kinds[param.pool], step.inputs
    if param.global_pooling:
        return step.add(f"Global{kind}Pool", inputs)
    kernel, stride, pad, beyond = pooling_windows(param, step.bottoms[0][2:], step.tops[0][2:])
    if kind == "Average" and any(pad):  # the zeros around the image count in the average; what lies beyond does not
        amounts = step.constant("pads", np.array([0, 0, *pad, 0, 0, *pad], np.int64))
        inputs = [step.add("Pad", [*inputs, amounts], "/padded")]
        beyond = (max(0, beyond[0] - pad[0]), max(0, beyond[1] - pad[1]))
        pad = (0, 0)
    return step.add(f"{kind}Pool", inputs, kernel_shape=kernel, strides=stride, pads=[*pad, *beyond])


def _lrn(step: _Step) -> str:
    param = step.layer.lrn_param
    if param.norm_region != caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        raise Refused("LRN within channels")
    return step.add("LRN", step.inputs, size=param.local_size, alpha=param.alpha, beta=param.beta, bias=param.k)


def _batch_norm(step: _Step) -> str:
    param = step.layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise Refused("BatchNorm by the batch's own statistics")
    mean, variance = statistics(step.blobs)
    parts = {"scale": np.ones_like(mean), "shift": np.zeros_like(mean), "mean": mean, "variance": variance}
    constants = [step.constant(part, values) for part, values in parts.items()]
    return step.add("BatchNormalization", [*step.inputs, *constants], epsilon=param.eps)


def _scale(step: _Step) -> str:
    """Scale, or Bias: a factor and a term along some axes."""
    scales = step.layer.type == "Scale"
    param = step.layer.scale_param if scales else step.layer.bias_param
    shape = step.blobs[0].shape
    behind = [1] * (len(step.bottoms[0]) - param.axis % len(step.bottoms[0]) - len(shape))
    parts = [("Mul", "factor"), ("Add", "term")][0 if scales else 1 :]
    holder = step.inputs[0]
    for blob, (kind, part) in zip(step.blobs, parts, strict=False):
        number = step.constant(part, blob.reshape(*shape, *behind))
        holder = step.add(kind, [holder, number], "" if blob is step.blobs[-1] else "/scaled")
    return holder


def _eltwise(step: _Step) -> str:
    param, inputs = step.layer.eltwise_param, list(step.inputs)
    kind = {param.SUM: "Sum", param.MAX: "Max", param.PROD: "Mul"}[param.operation]
    if kind == "Mul" and len(inputs) > 2:
        raise Refused("Eltwise product of more than two")
    for place, factor in enumerate(param.coeff):
        if kind == "Sum" and factor != 1:
            number = step.constant(f"coeff{place}", factor)
            inputs[place] = step.add("Mul", [inputs[place], number], f"/times{place}")
    return step.add(kind, inputs)


def _flatten(step: _Step) -> str:
    param = step.layer.flatten_param
    if (param.axis, param.end_axis) != (1, -1):
        raise Refused("Flatten of some axes alone")
    return step.add("Flatten", step.inputs, axis=1)


def _concat(step: _Step) -> str:
    param = step.layer.concat_param
    return step.add("Concat", step.inputs, axis=param.concat_dim if param.HasField("concat_dim") else param.axis)


def _clip(step: _Step) -> str:
    param = step.layer.clip_param
    return step.add("Clip", [*step.inputs, step.constant("min", param.min), step.constant("max", param.max)])


def _relu(step: _Step) -> str:
    slope = step.layer.relu_param.negative_slope
    return step.add("LeakyRelu", step.inputs, alpha=slope) if slope else step.add("Relu", step.inputs)


def _prelu(step: _Step) -> str:
    slope = step.blobs[0].reshape(-1, *[1] * (len(step.bottoms[0]) - 2))
    return step.add("PRelu", [*step.inputs, step.constant("slope", slope)])


_RULES: dict[str, Callable[[_Step], str]] = {
    "AbsVal": lambda step: step.add("Abs", step.inputs),
    "BatchNorm": _batch_norm,
    "Bias": _scale,
    "Clip": _clip,
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": lambda step: step.inputs[0],
    "ELU": lambda step: step.add("Elu", step.inputs, alpha=step.layer.elu_param.alpha),
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Scale": _scale,
    "Sigmoid": lambda step: step.add("Sigmoid", step.inputs),
    "Softmax": lambda step: step.add("Softmax", step.inputs, axis=step.layer.softmax_param.axis),
    "Split": lambda step: step.inputs[0],
    "TanH": lambda step: step.add("Tanh", step.inputs),
}
