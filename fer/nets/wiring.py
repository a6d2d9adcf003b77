"""How the layers of a net in one state are joined: bottoms, tops, names, in-place layers, the gradient's way.

What is a fault here ends real Caffe, or trains something else than the file says without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from fer.errors import nearest
from fer.schema import caffe_pb2

Layer: TypeAlias = caffe_pb2.LayerParameter

# fmt: off
_ONE_TO_ONE = (
    "AbsVal", "ArgMax", "BNLL", "BatchNorm", "Clip", "Dropout", "ELU", "Embed", "Exp", "Flatten", "Im2col",
    "InnerProduct", "LRN", "Log", "MVN", "PReLU", "Power", "ReLU", "Reduction", "Reshape", "SPP", "Sigmoid", "Softmax",
    "Swish", "TanH", "Threshold", "Tile",
)
# Of a SoftmaxWithLoss Caffe would take two tops, but its inner Softmax then ends it.
_LOSSES = ("EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "SoftmaxWithLoss")
# Caffe refuses them in place, or overwrites what they still read.
_NOT_IN_PLACE = frozenset([
    "AbsVal", "ArgMax", "BatchReindex", "Convolution", "Crop", "Deconvolution", "Embed", "Flatten", "Im2col",
    "InnerProduct", "LRN", "LSTMUnit", "Pooling", "Reduction", "Reshape", "SPP", "Split", "Tile",
])
_WEIGHTED = frozenset([
    "BatchNorm", "Convolution", "Deconvolution", "Embed", "InnerProduct", "LSTM", "PReLU", "Parameter", "RNN",
])
# fmt: on
_NO_GRADIENT = frozenset(["Accuracy", "ArgMax", "HDF5Output", "Threshold"])
# The bottoms, from this one on, of which no gradient can be asked: labels and indices.
_LABELS_FROM = {"Embed": 0, "BatchReindex": 1, "InfogainLoss": 1} | {
    name: 1 for name in _LOSSES if name != "EuclideanLoss"
}
# How many bottoms and tops a layer takes: fewest and most of each (None: any number). Caffe itself gives a loss a top.
_ENDS: dict[str, tuple[int, int | None, int, int | None]] = {
    **dict.fromkeys(_ONE_TO_ONE, (1, 1, 1, 1)),
    **dict.fromkeys(_LOSSES, (2, 2, 0, 1)),
    "Accuracy": (2, 2, 1, 2),
    "BatchReindex": (2, 2, 1, 1),
    "Bias": (1, 2, 1, 1),
    "Concat": (1, None, 1, 1),
    "ContrastiveLoss": (3, 3, 0, 1),
    "Convolution": (1, None, 1, None),
    "Crop": (2, 2, 1, 1),
    "Data": (0, 0, 1, 2),
    "Deconvolution": (1, None, 1, None),
    "DummyData": (0, 0, 1, None),
    "Eltwise": (2, None, 1, 1),
    "Filter": (2, None, 1, None),
    "HDF5Data": (0, 0, 1, None),
    "HDF5Output": (2, 2, 0, 0),
    "ImageData": (0, 0, 2, 2),
    "InfogainLoss": (2, 3, 0, 2),
    "Input": (0, 0, 1, None),
    "LSTMUnit": (3, 3, 2, 2),
    "MemoryData": (0, 0, 2, 2),
    "Parameter": (0, 0, 1, 1),
    "Pooling": (1, 1, 1, 2),
    "Scale": (1, 2, 1, 1),
    "Silence": (1, None, 0, 0),
    "Slice": (1, 1, 1, None),
    "Split": (1, 1, 1, None),
    "WindowData": (0, 0, 2, 2),
}


def has_parameters(layer: Layer) -> bool:
    """Whether a layer of Caffe's own types keeps blobs in the weights file."""
    return layer.type in _WEIGHTED or (layer.type in ("Scale", "Bias") and len(layer.bottom) == 1)


def learns_statistics(layer: Layer) -> bool:
    """Whether a layer that trains normalizes by the batch, whose statistics it keeps."""
    return layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats


def stays_zero(layer: Layer) -> bool:
    """Whether a layer's factors are 0 for good unless weights are given: nothing fills them, and they do not learn."""
    param = {
        "Convolution": layer.convolution_param,
        "Deconvolution": layer.convolution_param,
        "InnerProduct": layer.inner_product_param,
    }.get(layer.type)
    frozen = bool(layer.param) and not layer.param[0].lr_mult
    return param is not None and frozen and not layer.param[0].name and not param.HasField("weight_filler")


def loss_weights(layer: Layer) -> list[float]:
    """One a top: as the layer says, else 1 for the first top of a loss layer."""
    given = list(layer.loss_weight)
    implied = [1.0] if layer.type.endswith("Loss") else []
    return [*(given or implied), *[0.0] * len(layer.top)][: max(len(layer.top), len(given), len(implied))]


def wiring_faults(
    net: caffe_pb2.NetParameter, positions: Sequence[int], lines: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Faults in how the layers at `positions` are joined: pairs of a position and a sentence."""
    makers: dict[str, int] = {}
    later = {top: i for i in reversed(positions) for top in net.layer[i].top}
    for i in positions:
        layer = net.layer[i]
        yield from ((i, fault) for fault in _end_faults(layer))
        for bottom in layer.bottom:
            if bottom in makers:
                continue
            if bottom in later and later[bottom] > i:
                yield (
                    i,
                    f"layer {layer.name!r}: its bottom {bottom!r} is made only later, on line {lines[later[bottom]]}",
                )
            else:
                yield i, f"layer {layer.name!r}: nothing makes its bottom {bottom!r}{nearest(bottom, makers)}"
        for k, top in enumerate(layer.top):
            in_place = k < len(layer.bottom) and layer.bottom[k] == top
            if top in makers and not in_place:
                maker = net.layer[makers[top]].name
                yield (
                    i,
                    f"layer {layer.name!r}: its top {top!r} is made already by {maker!r} on line {lines[makers[top]]}",
                )
            makers.setdefault(top, i)
    yield from _name_faults(net, positions, lines)
    yield from _in_place_faults(net, positions, lines)
    yield from _gradient_faults(net, positions)


def _end_faults(layer: Layer) -> Iterator[str]:
    fewest_bottoms, most_bottoms, fewest_tops, most_tops = _ENDS.get(layer.type, (0, None, 0, None))
    if layer.type == "Pooling" and layer.pooling_param.pool != caffe_pb2.PoolingParameter.MAX:
        most_tops = 1
    ends = (("bottom", layer.bottom, fewest_bottoms, most_bottoms), ("top", layer.top, fewest_tops, most_tops))
    for kind, given, fewest, most in ends:
        if not fewest <= len(given) <= (len(given) if most is None else most):
            wanted = f"{fewest} or more" if most is None else f"{fewest}" if most == fewest else f"{fewest} to {most}"
            yield f"layer {layer.name!r}: a {layer.type} takes {wanted} {kind}(s), not {len(given)}"
    if layer.type in ("Convolution", "Deconvolution") and len(layer.bottom) != len(layer.top):
        yield f"layer {layer.name!r}: {len(layer.bottom)} bottom(s) for {len(layer.top)} top(s); give as many of each"
    if layer.loss_weight and len(layer.loss_weight) != max(len(layer.top), layer.type.endswith("Loss")):
        yield f"layer {layer.name!r}: loss_weight is given {len(layer.loss_weight)} times for {len(layer.top)} top(s)"
    if layer.type in _ENDS and layer.param and not (has_parameters(layer) or layer.type in ("Scale", "Bias")):
        yield f"layer {layer.name!r}: {layer.type} layers have no parameters; Caffe refuses the param {{ ... }}"
    if layer.propagate_down and len(layer.propagate_down) != len(layer.bottom):
        yield (
            f"layer {layer.name!r}: propagate_down is given {len(layer.propagate_down)} times for "
            f"{len(layer.bottom)} bottom(s); give it once per bottom or not at all"
        )


def _name_faults(
    net: caffe_pb2.NetParameter, positions: Sequence[int], lines: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Weights are kept, and shared with the test net, by the names of layers: one of several is silently lost."""
    named: dict[str, list[int]] = {}
    for i in positions:
        named.setdefault(net.layer[i].name, []).append(i)
    for name, places in named.items():
        if len(places) > 1 and any(has_parameters(net.layer[i]) for i in places):
            other = f"the other on line {lines[places[0]]}; Caffe finds weights by name"
            if name:
                yield places[1], f"two layers are called {name!r}, {other}"
            else:
                yield places[1], f"two layers have no name, {other}"


def _in_place_faults(
    net: caffe_pb2.NetParameter, positions: Sequence[int], lines: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Caffe lays a Split behind a blob that has several readers, and then none of them can work in place."""
    readers: dict[str, list[int]] = {}
    weighted: set[str] = set()
    for i in positions:
        layer = net.layer[i]
        for bottom in layer.bottom:
            readers.setdefault(bottom, []).append(i)
        for k, top in enumerate(layer.top):
            if k < len(layer.bottom) and layer.bottom[k] == top:
                if layer.type in _NOT_IN_PLACE or layer.type.endswith("Loss"):
                    yield i, f"layer {layer.name!r}: {layer.type} does not work in place; give it a top of its own"
                elif len(readers[top]) > 1 or top in weighted:
                    other = next((n for n in readers[top] if n != i), None)
                    read = "has a loss weight" if other is None else f"is read on line {lines[other]} as well"
                    yield i, f"layer {layer.name!r} works in place on {top!r}, which {read}; give it a top of its own"
            readers[top] = []
            # Only a weight that is written there is a reader to Caffe, not the one that a loss layer has by itself.
            weighted.discard(top)
            if k < len(layer.loss_weight) and layer.loss_weight[k]:
                weighted.add(top)


def _gradient_faults(net: caffe_pb2.NetParameter, positions: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Layers that have no gradient, where Caffe asks for one: between what learns and a loss."""
    asked: dict[str, bool] = {}  # of each blob, whether what makes it learns from its gradient
    needs: dict[int, list[bool]] = {}
    for i in positions:
        layer = net.layer[i]
        given = list(layer.propagate_down)
        needs[i] = given if len(given) == len(layer.bottom) else [asked.get(bottom, False) for bottom in layer.bottom]
        rates = [spec.lr_mult for spec in layer.param]
        learns = has_parameters(layer) and layer.type != "BatchNorm" and (len(rates) < 2 or any(rates))
        if len(rates) == 1 and not rates[0]:
            learns = learns and layer.type not in ("PReLU", "Parameter", "Embed")
        asked.update(dict.fromkeys(layer.top, any(needs[i]) or learns))
    judged: set[str] = set()  # the blobs that a loss depends on
    for i in reversed(positions):
        layer = net.layer[i]
        if not (any(loss_weights(layer)) or not judged.isdisjoint(layer.top)):
            continue
        judged.update(layer.bottom)
        if layer.type in _NO_GRADIENT and any(needs[i]):
            yield i, f"layer {layer.name!r}: {layer.type} has no gradient, and a loss behind it asks for one"
        first = _LABELS_FROM.get(layer.type)
        if first is not None and any(needs[i][first:]):
            what = layer.bottom[first + needs[i][first:].index(True)]
            yield i, f"layer {layer.name!r}: {layer.type} passes no gradient to {what!r}, which would learn from it"
