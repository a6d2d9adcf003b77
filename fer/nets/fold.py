"""BatchNorm, Scale and Bias folded into the layer before them: the same numbers by fewer layers.

folded = fold(deploy, blobs)
folded.net, folded.blobs      what is left, as real Caffe reads it
folded.weights()              as a .caffemodel
folded.left                   why a BatchNorm, Scale or Bias is still there, by its name

A channel's y = (x - mean) / sqrt(variance + eps) * scale + bias is a factor and a term, and those of the layer
before it that is linear in its weights (Convolution, Deconvolution, InnerProduct) take them up. Toolchains of devices
quantize the folded net well, and the other badly or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fer.formats.blobs import to_blob
from fer.schema import caffe_pb2

Layer = caffe_pb2.LayerParameter
Blobs = Mapping[str, Sequence[np.ndarray]]
_LINEAR = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}
_AFFINE = ("BatchNorm", "Scale", "Bias")


@dataclass(frozen=True)
class Folded:
    net: caffe_pb2.NetParameter
    blobs: dict[str, list[np.ndarray]]
    """float32, of each layer's name, in Caffe's order."""
    left: dict[str, str] = field(default_factory=dict)

    def weights(self) -> caffe_pb2.NetParameter:
        """The blobs as a .caffemodel has them."""
        weights = caffe_pb2.NetParameter(name=self.net.name)
        for layer in self.net.layer:
            if blobs := self.blobs.get(layer.name):
                weights.layer.add(name=layer.name, type=layer.type).blobs.extend(map(to_blob, blobs))
        return weights


class _Unfoldable(Exception):  # no error: the layer stays
    """Why a layer stays."""


def fold(deploy: caffe_pb2.NetParameter, blobs: Blobs) -> Folded:
    """The deploy net with its BatchNorm, Scale and Bias layers folded where that is exact.

    `blobs` are each layer's parameters in their shapes and Caffe's order. The numbers of the folded net differ from
    the other's by the rounding of its parameters to float32 alone.
    """
    net = caffe_pb2.NetParameter()
    net.CopyFrom(deploy)
    kept = {name: [np.asarray(blob, np.float64) for blob in each] for name, each in blobs.items()}
    layers, left = list(net.layer), dict[str, str]()
    place = 0
    while place < len(layers):
        layer = layers[place]
        if layer.type in _AFFINE:
            try:
                _fold_at(layers, place, kept)
                continue
            except _Unfoldable as reason:
                left[layer.name] = str(reason)
        place += 1
    del net.layer[:]
    net.layer.extend(layers)
    names = {layer.name for layer in layers}
    as_floats = {name: [blob.astype(np.float32) for blob in each] for name, each in kept.items() if name in names}
    return Folded(net, as_floats, left)


def _fold_at(layers: list[Layer], place: int, blobs: dict[str, list[np.ndarray]]) -> None:
    """Fold the layer at `place` into the one that makes its bottom, and take it out. Raises _Unfoldable."""
    layer = layers[place]
    target = _maker(layers, place)
    axis = _output_axis(target)
    weights, *bias = blobs[target.name]
    count = weights.shape[axis]
    factor, term = _affine(layer, blobs[layer.name], count)
    along = [1] * weights.ndim
    along[axis] = count
    shift = (bias[0].ravel() * factor if bias else 0.0) + term
    blobs[target.name] = [weights * factor.reshape(along), np.broadcast_to(shift, (count,)).copy()]
    getattr(target, _LINEAR[target.type]).ClearField("bias_term")  # true unless it is said
    target.top[0] = layer.top[0]
    del layers[place], blobs[layer.name]


def _maker(layers: Sequence[Layer], place: int) -> Layer:
    """The linear layer whose top only the layer at `place` reads. Raises _Unfoldable."""
    layer = layers[place]
    if len(layer.bottom) != 1:
        raise _Unfoldable(f"it has {len(layer.bottom)} bottoms")
    blob = layer.bottom[0]
    before = next((at for at in range(place - 1, -1, -1) if blob in layers[at].top), None)
    if before is None or layers[before].type not in _LINEAR:
        kind = "nothing" if before is None else f"a {layers[before].type} layer"
        raise _Unfoldable(f"it follows {kind}, not a Convolution, Deconvolution or InnerProduct")
    readers = []
    for other in layers[before + 1 :]:
        readers += [other] if blob in other.bottom else []
        if blob in other.top:
            break
    if readers != [layer]:
        others = ", ".join(other.name for other in readers if other is not layer)
        raise _Unfoldable(f"{others} read{'s' if len(readers) == 2 else ''} what is before it, too")
    if any(layer.top[0] in (*other.top, *other.bottom) for other in layers[before + 1 : place]):
        raise _Unfoldable(f"its top {layer.top[0]!r} is another blob's name before it")
    return layers[before]


def _output_axis(target: Layer) -> int:
    """The axis of a linear layer's weights that its outputs are counted along. Raises _Unfoldable."""
    if target.type == "InnerProduct":
        if target.inner_product_param.axis not in (1, -1):
            raise _Unfoldable(f"{target.name} works on axis {target.inner_product_param.axis}")
        return 1 if target.inner_product_param.transpose else 0
    if target.convolution_param.axis != 1:
        raise _Unfoldable(f"the channels of {target.name} are on axis {target.convolution_param.axis}")
    if target.type == "Convolution":
        return 0
    if target.convolution_param.group > 1:
        raise _Unfoldable(f"{target.name} has groups")
    return 1


def _affine(layer: Layer, blobs: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Factor and term a channel, of `count` channels. Raises _Unfoldable."""
    if layer.type == "BatchNorm":
        return _normalization(layer.batch_norm_param, blobs)
    param = layer.scale_param if layer.type == "Scale" else layer.bias_param
    if blobs[0].size == 1:  # of all channels alike, whatever its axis
        blobs = [np.broadcast_to(blob.ravel(), (count,)) for blob in blobs]
    elif blobs[0].shape != (count,) or param.axis != 1:
        raise _Unfoldable("it has more than one number a channel")
    numbers = [blob.ravel() for blob in blobs]
    if layer.type == "Bias":
        return np.ones(count), numbers[0]
    return numbers[0], numbers[1] if len(numbers) > 1 else np.zeros(count)


def _normalization(param: caffe_pb2.BatchNormParameter, blobs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise _Unfoldable("it normalizes by the batch's own statistics")
    mean, variance = statistics(blobs)
    factor = 1 / np.sqrt(variance + np.float64(np.float32(param.eps)))
    return factor, -mean * factor


def statistics(blobs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance a channel that a BatchNorm's three blobs stand for: sums, and how much was summed."""
    mean, variance, total = (blob.ravel() for blob in blobs)
    share = 1 / total[0] if total[0] else 0
    return mean * share, variance * share
