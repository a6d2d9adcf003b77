"""Kernels, strides, pads and dilations as convolution_param and pooling_param spell them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.engines.core.framework import Shape
from fer.engines.core.layer import Layer
from fer.nets.shapes import POOLING_PAIRS, pair_of, pooling_pairs
from fer.schema import caffe_pb2


@dataclass(frozen=True)
class Window:
    """A window that slides over an image: one number for each spatial axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape

    @property
    def extent(self) -> Shape:
        """How many pixels the kernel spans with its dilation."""
        return tuple((kernel - 1) * dilation + 1 for kernel, dilation in zip(self.kernel, self.dilation, strict=True))


def convolution_window(layer: Layer, axes: int) -> Window:
    """The window of convolution_param for `axes` spatial axes; FerError where numbers are missing or too many."""
    param = layer.param.convolution_param
    window = Window(
        kernel=_sizes(layer, "kernel", param.kernel_size, axes, None),
        stride=_sizes(layer, "stride", param.stride, axes, 1),
        pad=_sizes(layer, "pad", param.pad, axes, 0),
        dilation=_per_axis(layer, "dilation", param.dilation, axes, 1),
    )
    for name in ("kernel", "stride", "dilation"):
        if 0 in getattr(window, name):
            layer.fail(f"{name} must be 1 or more")
    return window


def _sizes(layer: Layer, name: str, listed: Sequence[int], axes: int, default: int | None) -> Shape:
    """`name`_h and `name`_w where the prototxt has them, else the list."""
    param = layer.param.convolution_param
    if not (param.HasField(f"{name}_h") or param.HasField(f"{name}_w")):
        return _per_axis(layer, name, listed, axes, default)
    if axes != 2 or listed:
        layer.fail(f"{name}_h and {name}_w are for two spatial axes, and stand in place of a list")
    return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")


def _per_axis(layer: Layer, name: str, listed: Sequence[int], axes: int, default: int | None) -> Shape:
    values = tuple(listed) or (() if default is None else (default,))
    if len(values) == 1:
        return values * axes
    if len(values) != axes:
        layer.fail(f"{name} has {len(values)} values for {axes} spatial axes (give one, or one for each)")
    return values


def pooling_window(layer: Layer, param: caffe_pb2.PoolingParameter, size: Shape) -> Window:
    """The window of a pooling_param over an image of `size` (height, width); FerError where it makes no sense."""
    if fault := pooling_pairs(param):
        layer.fail(fault)
    kernel, stride, pad = (pair_of(param, name) for name in POOLING_PAIRS)
    window = Window(size if param.global_pooling else kernel, stride, pad, dilation=(1, 1))
    if 0 in window.kernel or 0 in window.stride:
        layer.fail("kernel_size and stride must be 1 or more")
    if param.global_pooling and (any(kernel) or any(window.pad) or window.stride != (1, 1)):
        layer.fail("global_pooling takes no kernel_size, pad or stride")
    if any(pad >= side for pad, side in zip(window.pad, window.kernel, strict=True)):
        layer.fail(f"pad {window.pad} must be less than the kernel {window.kernel}")
    return window
