"""Blob and parameter shapes of a net, computed from its prototxt as Caffe would on setting it up.

Covers the layers that faces are classified with; a net with another kind has unknown shapes, which is said and not
guessed. Enough to size snapshots and to find a crop or kernel that does not fit before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fer.errors import FerError
from fer.schema import caffe_pb2

Shape: TypeAlias = tuple[int, ...]
Layer: TypeAlias = caffe_pb2.LayerParameter


class UnknownShapeError(FerError):
    """A layer whose shapes are not computed here: nothing is wrong with the net."""


class ShapeError(FerError):
    """A layer that cannot take the shape it is given."""

    def __init__(self, message: str, position: int):
        super().__init__(message)
        self.position = position


@dataclass
class NetShapes:
    """Shapes by blob name, shapes of each layer's parameters, and multiply-adds of one forward pass by layer."""

    blobs: dict[str, Shape] = field(default_factory=dict)
    params: dict[str, list[Shape]] = field(default_factory=dict)
    multiply_adds: dict[str, int] = field(default_factory=dict)

    @property
    def param_count(self) -> int:
        """How many numbers the net learns or keeps, over all layers."""
        return sum(math.prod(shape) for shapes in self.params.values() for shape in shapes)


def infer_shapes(
    net: caffe_pb2.NetParameter, image_shape: Shape | None = None, databases: Mapping[str, Shape] | None = None
) -> NetShapes:
    """Shapes of a net already filtered for one phase.

    `image_shape` (channels, height, width) is what its Data layers find in their database, or what `databases` says of
    that, by its path; a crop_size replaces height and width. Raises ShapeError for a layer that does not fit,
    UnknownShapeError for one not covered.
    """
    shapes = NetShapes()
    for position, layer in enumerate(net.layer):
        if layer.type in ("Data", "ImageData", "Input"):
            tops, params, work = _source(layer, (databases or {}).get(layer.data_param.source, image_shape))
        else:
            missing = [name for name in layer.bottom if name not in shapes.blobs]
            if missing:
                raise ShapeError(f"layer {layer.name!r}: nothing makes its bottom {missing[0]!r}", position)
            bottoms = [shapes.blobs[name] for name in layer.bottom]
            try:
                tops, params, work = _apply(layer, bottoms)
            except ValueError as error:
                raise ShapeError(f"layer {layer.name!r} ({layer.type}): {error}", position) from error
        shapes.blobs.update(zip(layer.top, tops, strict=False))
        if params:
            shapes.params[layer.name] = params
        shapes.multiply_adds[layer.name] = work
    return shapes


Result: TypeAlias = tuple[list[Shape], list[Shape], int]  # tops, parameters, multiply-adds


def _source(layer: Layer, image_shape: Shape | None) -> Result:
    if layer.type == "Input":
        shapes: list[Shape] = [tuple(shape.dim) for shape in layer.input_param.shape]
        return shapes * len(layer.top) if len(shapes) == 1 else shapes, [], 0
    if image_shape is None:
        raise UnknownShapeError(f"layer {layer.name!r}: the shape of its images is not known")
    batch = layer.data_param.batch_size if layer.type == "Data" else layer.image_data_param.batch_size
    channels, height, width = image_shape
    crop = layer.transform_param.crop_size
    return [(batch, channels, crop or height, crop or width), (batch,)], [], 0


def _apply(layer: Layer, bottoms: list[Shape]) -> Result:
    same = layer.type in _SAME or (layer.type == "Python" and layer.python_param.layer == "Augment")
    judges = layer.type.endswith("Loss") or layer.type == "Accuracy"
    if not (same or judges or layer.type in _RULES):
        raise UnknownShapeError(f"layer {layer.name!r}: shapes of a {layer.type} layer are not computed here")
    if not bottoms:
        raise ValueError("it has no bottom")
    if same:
        return [bottoms[0]] * len(layer.top), [], 0
    if judges:
        return [(), bottoms[0]][: len(layer.top)], [], 0
    return _RULES[layer.type](layer, bottoms)


def pair(values: Sequence[int], height: int, width: int, default: int) -> tuple[int, int]:
    """Height and width of a kernel, pad, stride or dilation: from `_h`/`_w`, a list of one or two, or the default."""
    if height or width:
        return height, width
    if len(values) > 2:
        raise ValueError(f"{len(values)} values for two dimensions")
    listed = list(values) or [default]
    return listed[0], listed[-1]


def _convolution(layer: Layer, bottoms: list[Shape]) -> Result:
    param = layer.convolution_param
    kernel = pair(param.kernel_size, param.kernel_h, param.kernel_w, 0)
    stride = pair(param.stride, param.stride_h, param.stride_w, 1)
    pad = pair(param.pad, param.pad_h, param.pad_w, 0)
    dilation = pair(param.dilation, 0, 0, 1)
    batch, channels, *size = _image(bottoms[0])
    if 0 in kernel or 0 in stride or not param.num_output:
        raise ValueError("num_output, kernel_size and stride must be 1 or more")
    if not param.group or channels % param.group or param.num_output % param.group:
        raise ValueError(f"{channels} channels in and {param.num_output} out do not divide into {param.group} groups")
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    transposed = layer.type == "Deconvolution"
    if transposed:
        out = [s * (n - 1) + w - 2 * p for n, w, p, s in zip(size, wide, pad, stride, strict=True)]
        weights = (channels, param.num_output // param.group, *kernel)
    else:
        out = [(n + 2 * p - w) // s + 1 for n, w, p, s in zip(size, wide, pad, stride, strict=True)]
        weights = (param.num_output, channels // param.group, *kernel)
    if min(out) < 1:
        raise ValueError(f"a kernel of {wide[0]}x{wide[1]} does not fit an input of {size[0]}x{size[1]}")
    params: list[Shape] = [weights, (param.num_output,)] if param.bias_term else [weights]
    work = batch * math.prod(weights) * math.prod(size if transposed else out)
    return [(batch, param.num_output, *out)] * len(layer.top), params, work


def _pooling(layer: Layer, bottoms: list[Shape]) -> Result:
    param = layer.pooling_param
    batch, channels, *size = _image(bottoms[0])
    if param.global_pooling:
        return [(batch, channels, 1, 1)] * len(layer.top), [], 0
    if fault := pooling_pairs(param):
        raise ValueError(fault)
    kernel, stride, pad = (pair_of(param, name) for name in POOLING_PAIRS)
    if 0 in kernel or 0 in stride:
        raise ValueError("kernel_size and stride must be 1 or more")
    up = param.round_mode == caffe_pb2.PoolingParameter.CEIL
    out = pooled_size(size, kernel, stride, pad, up=up)
    if min(out) < 1:
        raise ValueError(f"a window of {kernel[0]}x{kernel[1]} does not fit an input of {size[0]}x{size[1]}")
    return [(batch, channels, *out)] * len(layer.top), [], 0


POOLING_PAIRS = {"kernel": "kernel_size", "stride": "stride", "pad": "pad"}
"""What pooling_param says for both axes at once, or for each as `_h` and `_w`: the field for both."""


def pair_of(param: caffe_pb2.PoolingParameter, name: str) -> tuple[int, int]:
    """Height and width of a pooling's "kernel", "stride" or "pad"."""
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
    both: int = getattr(param, POOLING_PAIRS[name])
    return both, both


def pooling_windows(
    param: caffe_pb2.PoolingParameter, size: Sequence[int], out: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and pad of a pooling from `size` to `out`, each (height, width); and, as Caffe rounds up, how far
    the last windows reach beyond the image."""
    kernel, stride, pad = (pair_of(param, name) for name in POOLING_PAIRS)
    height, width = (
        max(0, (n - 1) * s + k - p - length) for n, s, k, p, length in zip(out, stride, kernel, pad, size, strict=True)
    )
    return kernel, stride, pad, (height, width)


def pooling_pairs(param: caffe_pb2.PoolingParameter) -> str | None:
    """What Caffe refuses in how a pooling_param spells its window, or None."""
    for name, both in POOLING_PAIRS.items():
        sides = [param.HasField(f"{name}_{side}") for side in "hw"]
        if any(sides) and (param.HasField(both) or not all(sides)):
            return f"pooling_param takes {both}, or {name}_h and {name}_w together"
    return None


def pooled_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], *, up: bool
) -> Shape:
    """How many windows Caffe lays over an image along each axis; 0 or less where there is none.

    A window larger than the image counts where rounding up gives it a place, and is cut at the edge.
    """
    out = []
    for n, k, s, p in zip(size, kernel, stride, pad, strict=True):
        count = (-(-(n + 2 * p - k) // s) if up else (n + 2 * p - k) // s) + 1
        # Rounded up, the last window may begin beyond the image: Caffe drops it where there is padding.
        out.append(count - 1 if any(pad) and (count - 1) * s >= n + p else count)
    return tuple(out)


def _inner_product(layer: Layer, bottoms: list[Shape]) -> Result:
    param = layer.inner_product_param
    if not param.num_output:
        raise ValueError("num_output must be 1 or more")
    axis = _axis(param.axis, bottoms[0])
    inputs = math.prod(bottoms[0][axis:])
    weights = (inputs, param.num_output) if param.transpose else (param.num_output, inputs)
    params: list[Shape] = [weights, (param.num_output,)] if param.bias_term else [weights]
    work = math.prod(bottoms[0][:axis]) * math.prod(weights)
    return [(*bottoms[0][:axis], param.num_output)], params, work


def _reduction(layer: Layer, bottoms: list[Shape]) -> Result:
    return [bottoms[0][: _axis(layer.reduction_param.axis, bottoms[0])]], [], 0


def _flatten(layer: Layer, bottoms: list[Shape]) -> Result:
    start = _axis(layer.flatten_param.axis, bottoms[0])
    stop = _axis(layer.flatten_param.end_axis, bottoms[0]) + 1
    return [(*bottoms[0][:start], math.prod(bottoms[0][start:stop]), *bottoms[0][stop:])], [], 0


def _concat(layer: Layer, bottoms: list[Shape]) -> Result:
    param = layer.concat_param
    axis = _axis(param.concat_dim if param.HasField("concat_dim") else param.axis, bottoms[0])
    if len({(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in bottoms}) > 1:
        raise ValueError(f"its bottoms differ beside axis {axis}: {bottoms}")
    return [(*bottoms[0][:axis], sum(shape[axis] for shape in bottoms), *bottoms[0][axis + 1 :])], [], 0


def _eltwise(layer: Layer, bottoms: list[Shape]) -> Result:
    if len(set(bottoms)) > 1:
        raise ValueError(f"its bottoms differ in shape: {bottoms}")
    return [bottoms[0]], [], 0


def _batch_norm(layer: Layer, bottoms: list[Shape]) -> Result:
    channels = bottoms[0][1] if len(bottoms[0]) > 1 else 1
    return [bottoms[0]], [(channels,), (channels,), (1,)], 0


def _scale(layer: Layer, bottoms: list[Shape]) -> Result:
    if len(bottoms) > 1:
        raise UnknownShapeError(f"layer {layer.name!r}: shapes of a {layer.type} of two bottoms are not computed here")
    param = layer.scale_param if layer.type == "Scale" else layer.bias_param
    axis = _axis(param.axis, bottoms[0])
    shape = bottoms[0][axis:] if param.num_axes == -1 else bottoms[0][axis : axis + param.num_axes]
    both = layer.type == "Scale" and layer.scale_param.bias_term
    return [bottoms[0]], [shape, shape] if both else [shape], 0


def _prelu(layer: Layer, bottoms: list[Shape]) -> Result:
    return [bottoms[0]], [() if layer.prelu_param.channel_shared else (bottoms[0][_axis(1, bottoms[0])],)], 0


def _silence(layer: Layer, bottoms: list[Shape]) -> Result:
    return [], [], 0


def _image(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"it needs images (batch, channels, height, width), not {shape}")
    return shape


def _axis(axis: int, shape: Shape) -> int:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} is outside of {shape}")
    return axis % len(shape)


# fmt: off
_SAME = frozenset([
    "AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Exp", "LRN", "Log", "MVN", "Power",
    "ReLU", "Sigmoid", "Softmax", "Split", "Swish", "TanH", "Threshold",
])
# fmt: on
_RULES: dict[str, Callable[[Layer, list[Shape]], Result]] = {
    "BatchNorm": _batch_norm,
    "Bias": _scale,
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Eltwise": _eltwise,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "PReLU": _prelu,
    "Pooling": _pooling,
    "Reduction": _reduction,
    "Scale": _scale,
    "Silence": _silence,
}
