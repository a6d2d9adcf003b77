"""A deploy net with its weights as ncnn's two files: `.param`, a line a layer, and `.bin`, their numbers.

Covers the layers that faces are classified with; any other is an error, never a guess. ncnn's own converters are in no
wheel; docs/developer-guide of its sources tells what lines and numbers mean.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fer.engines.core.splits import insert_splits
from fer.export.refused import LayersRefused, Refused, check_types
from fer.nets.fold import statistics
from fer.nets.shapes import Shape, infer_shapes, pair, pooling_windows
from fer.nets.transform import Transform
from fer.schema import caffe_pb2

INPUT, OUTPUT = "pixels", "probabilities"
MAGIC = 7767517
_FLOATS, _INT8 = 0, 0x000D4B38  # what a layer's weights in .bin begin with
_PROD, _SUM, _MAX = 0, 1, 2  # Eltwise's, in the order of Caffe's own
_SUB, _MUL = 1, 2  # BinaryOp's


@dataclass
class Written:
    """The two files; `quantizable` are the blobs that Convolution and InnerProduct layers read, by layer, and
    `made` the layers by the blob that each makes."""

    lines: list[str] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)
    quantizable: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    blobs: int = 0

    def add(self, kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], **params: object) -> None:
        """A layer; `params` are `p<key>=value`, a list being one of ncnn's arrays."""
        texts = [_param(int(key[1:]), value) for key, value in params.items() if value is not None]
        words = [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, *texts]
        self.lines.append(" ".join(words))
        self.blobs += len(outputs)

    def floats(self, *arrays: np.ndarray) -> None:
        self.numbers += [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays]

    @property
    def param(self) -> str:
        return f"{MAGIC}\n{len(self.lines)} {self.blobs}\n" + "".join(f"{line}\n" for line in self.lines)

    @property
    def bin(self) -> bytes:
        return b"".join(self.numbers)


def _param(key: int, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"{-23300 - key}={len(value)}," + ",".join(f"{number:.9e}" for number in value)
    return f"{key}={value:.9e}" if isinstance(value, float) else f"{key}={value}"


@dataclass(frozen=True)
class _Step:
    """One layer to be told: the names of its blobs in ncnn, the shapes of bottoms and tops, its parameters."""

    written: Written
    layer: caffe_pb2.LayerParameter
    inputs: list[str]
    outputs: list[str]
    bottoms: list[Shape]
    tops: list[Shape]
    blobs: list[np.ndarray]
    scale: float | None
    """What its bottom is multiplied by to be int8; None: it stays float32."""

    def add(self, kind: str, *, inputs: Sequence[str] | None = None, **params: object) -> None:
        self.written.add(kind, _word(self.layer.name), inputs or self.inputs, self.outputs, **params)

    def weights(self, rows: np.ndarray) -> None:
        """The weights [num_output, ...] and the bias, and their scales where they are to be int8."""
        bias = self.blobs[1:2]
        if self.scale is None:
            self.written.numbers.append(struct.pack("<I", _FLOATS))
            self.written.floats(rows, *bias)
            return
        largest = np.abs(rows.reshape(len(rows), -1)).max(axis=1)
        scales = np.where(largest > 0, 127 / np.maximum(largest, 1e-30), 1).astype(np.float32)
        whole = np.rint(rows.reshape(len(rows), -1) * scales[:, np.newaxis]).astype(np.int8).tobytes()
        self.written.numbers += [struct.pack("<I", _INT8), whole + bytes(-len(whole) % 4)]
        self.written.floats(*bias, scales, np.array([self.scale]))


def to_ncnn(
    deploy: caffe_pb2.NetParameter,
    blobs: Mapping[str, Sequence[np.ndarray]],
    transform: Transform | None,
    ranges: Mapping[str, float] | None = None,
) -> Written:
    """ncnn's files, from `pixels` [C, H, W] of 0..255 where there is a `transform`, and of what that gives without.

    `blobs` are each layer's parameters in Caffe's order; `ranges` the largest absolute value of what each
    layer that is to be int8 reads. Raises LayersRefused, of all that ncnn has not.
    """
    check_types("ncnn", deploy, _RULES)
    net, shapes = insert_splits(deploy), infer_shapes(insert_splits(deploy))
    written, holders, refused = Written(), dict[str, str](), dict[str, str]()
    for place, layer in enumerate(net.layer):
        if layer.type == "Input":
            holders[layer.top[0]] = _transformed(written, transform, shapes.blobs[layer.top[0]])
            continue
        inputs = [holders[name] for name in layer.bottom]
        # Caffe's layers work in place, ncnn's blobs have a name each.
        names = [f"{_word(top)}_{place}" for top in layer.top]
        if place == len(net.layer) - 1:
            names = [OUTPUT]
        bottoms, tops = ([shapes.blobs[name] for name in each] for each in (layer.bottom, layer.top))
        wanted = shapes.params.get(layer.name, [])
        own = [np.reshape(blob, shape) for blob, shape in zip(blobs.get(layer.name, []), wanted, strict=True)]
        largest = (ranges or {}).get(layer.name)
        step = _Step(written, layer, inputs, names, bottoms, tops, own, 127 / largest if largest else None)
        try:
            _RULES[layer.type](step)
        except Refused as what:
            refused[layer.name] = str(what)
        holders.update(zip(layer.top, names, strict=True))
        written.made[names[0]] = layer.name
    if refused:
        raise LayersRefused("ncnn", refused)
    return written


def _word(name: str) -> str:
    """A name without blanks, which divide ncnn's words."""
    return "_".join(name.split()) or "_"


def _transformed(written: Written, transform: Transform | None, shape: Shape) -> str:
    """The centre crop, less the mean, times the scale."""
    channels, height, width = transform.shape if transform else shape[1:]
    written.add("Input", INPUT, [], [INPUT], p0=width, p1=height, p2=channels)
    holder = INPUT
    if transform is None:
        return holder
    (top, left) = transform.offsets()[0]
    rows, columns = transform.window(top, left)
    if transform.crop:
        size = {"p3": transform.crop, "p4": transform.crop, "p5": channels}
        written.add("Crop", "cropped", [holder], ["cropped"], p0=left, p1=top, p2=0, **size)
        holder = "cropped"
    if transform.mean is not None:
        high, wide = len(range(*rows.indices(height))), len(range(*columns.indices(width)))
        under = transform.mean if transform.mean.shape[1:] == (1, 1) else transform.mean[:, rows, columns]
        mean = np.broadcast_to(under, (channels, high, wide))
        written.add("MemoryData", "mean", [], ["mean"], p0=wide, p1=high, p2=channels)
        written.floats(mean)
        written.add("BinaryOp", "centred", [holder, "mean"], ["centred"], p0=_SUB)
        holder = "centred"
    if transform.scale != 1:
        written.add("BinaryOp", "scaled", [holder], ["scaled"], p0=_MUL, p1=1, p2=float(transform.scale))
        holder = "scaled"
    return holder


def _convolution(step: _Step) -> None:
    param = step.layer.convolution_param
    kernel, group = step.blobs[0].shape[2:], param.group
    pad = pair(param.pad, param.pad_h, param.pad_w, 0)
    stride, dilation = pair(param.stride, param.stride_h, param.stride_w, 1), pair(param.dilation, 0, 0, 1)
    step.written.quantizable.update({step.layer.name: step.inputs[0]} if group == 1 else {})
    step.add(
        "Convolution" if group == 1 else "ConvolutionDepthWise",
        p0=param.num_output,
        p1=kernel[1], p11=kernel[0], p2=dilation[1], p12=dilation[0], p3=stride[1], p13=stride[0],
        p4=pad[1], p14=pad[0],
        p5=len(step.blobs) - 1,
        p6=step.blobs[0].size,
        p7=group if group > 1 else None,
        p8=2 if step.scale is not None else None,
    )  # fmt: skip
    step.weights(step.blobs[0])


def _inner_product(step: _Step) -> None:
    param = step.layer.inner_product_param
    if param.axis != 1:
        raise Refused(f"InnerProduct on axis {param.axis}")
    rows = step.blobs[0].T if param.transpose else step.blobs[0]
    step.written.quantizable[step.layer.name] = step.inputs[0]
    whole = 2 if step.scale is not None else None
    step.add("InnerProduct", p0=len(rows), p1=len(step.blobs) - 1, p2=rows.size, p8=whole)
    step.weights(np.ascontiguousarray(rows))


def _pooling(step: _Step) -> None:
    param = step.layer.pooling_param
    kinds = {caffe_pb2.PoolingParameter.MAX: 0, caffe_pb2.PoolingParameter.AVE: 1}
    if param.pool not in kinds or len(step.tops) > 1:
        raise Refused("pooling with a mask" if param.pool in kinds else "STOCHASTIC pooling")
    kind, inputs = kinds[param.pool], step.inputs
    if param.global_pooling:
        step.add("Pooling", p0=kind, p4=1)
        return
    kernel, stride, pad, beyond = pooling_windows(param, step.bottoms[0][2:], step.tops[0][2:])
    if kind and any(pad):  # the zeros around the image count in the average; what lies beyond does not
        name = f"{step.outputs[0]}/padded"
        step.written.add("Padding", name, inputs, [name], p0=pad[0], p1=pad[0], p2=pad[1], p3=pad[1])
        beyond = (max(0, beyond[0] - pad[0]), max(0, beyond[1] - pad[1]))
        inputs, pad = [name], (0, 0)
    step.add(
        "Pooling", inputs=inputs,
        p0=kind, p1=kernel[1], p11=kernel[0], p2=stride[1], p12=stride[0],
        p3=pad[1], p13=pad[0], p14=beyond[1], p15=beyond[0], p5=1, p6=0,
    )  # fmt: skip


def _lrn(step: _Step) -> None:
    param = step.layer.lrn_param
    if param.norm_region != caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        raise Refused("LRN within channels")
    step.add("LRN", p0=0, p1=param.local_size, p2=float(param.alpha), p3=float(param.beta), p4=float(param.k))


def _batch_norm(step: _Step) -> None:
    param = step.layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise Refused("BatchNorm by the batch's own statistics")
    mean, variance = statistics(step.blobs)
    step.add("BatchNorm", p0=mean.size, p1=float(param.eps))
    step.written.floats(np.ones_like(mean), mean, variance, np.zeros_like(mean))


def _scale(step: _Step) -> None:
    scales = step.layer.type == "Scale"
    param = step.layer.scale_param if scales else step.layer.bias_param
    if len(step.blobs[0].shape) > 1 or step.blobs[0].size != step.bottoms[0][1] or param.axis != 1:
        raise Refused(f"{step.layer.type} of other than a number a channel")
    step.add(step.layer.type, p0=step.blobs[0].size, p1=len(step.blobs) - 1 if scales else None)
    step.written.floats(*step.blobs)


def _eltwise(step: _Step) -> None:
    param = step.layer.eltwise_param
    kind = {param.PROD: _PROD, param.SUM: _SUM, param.MAX: _MAX}[param.operation]
    step.add("Eltwise", p0=kind, p1=list(param.coeff) if kind == _SUM and len(param.coeff) else None)


def _concat(step: _Step) -> None:
    param = step.layer.concat_param
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    axis %= len(step.bottoms[0])
    if axis == 0:
        raise Refused("Concat of images")
    step.add("Concat", p0=axis - 1)


def _flatten(step: _Step) -> None:
    param = step.layer.flatten_param
    if (param.axis, param.end_axis) != (1, -1):
        raise Refused("Flatten of some axes alone")
    step.add("Flatten")


def _softmax(step: _Step) -> None:
    axis = step.layer.softmax_param.axis % len(step.bottoms[0])
    step.add("Softmax", p0=axis - 1, p1=1)


def _prelu(step: _Step) -> None:
    step.add("PReLU", p0=step.blobs[0].size)
    step.written.floats(step.blobs[0])


_RULES: dict[str, Callable[[_Step], None]] = {
    "AbsVal": lambda step: step.add("AbsVal"),
    "BatchNorm": _batch_norm,
    "Bias": _scale,
    "Clip": lambda step: step.add("Clip", p0=float(step.layer.clip_param.min), p1=float(step.layer.clip_param.max)),
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": lambda step: step.add("Dropout"),
    "ELU": lambda step: step.add("ELU", p0=float(step.layer.elu_param.alpha)),
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "LRN": _lrn,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "ReLU": lambda step: step.add("ReLU", p0=float(step.layer.relu_param.negative_slope)),
    "Scale": _scale,
    "Sigmoid": lambda step: step.add("Sigmoid"),
    "Softmax": _softmax,
    "Split": lambda step: step.add("Split"),
    "TanH": lambda step: step.add("TanH"),
}
