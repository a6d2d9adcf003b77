"""Faults of a net that Caffe would abort on, or pass over in silence, found from its prototxt alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from fer.errors import nearest
from fer.formats.tokens import layer_lines
from fer.nets.states import State, taking_part
from fer.schema import caffe_pb2

Layer: TypeAlias = caffe_pb2.LayerParameter

# fmt: off
KNOWN_LAYERS = frozenset([
    "AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Concat", "ContrastiveLoss",
    "Convolution", "Crop", "Data", "Deconvolution", "Dropout", "DummyData", "ELU", "Eltwise", "Embed",
    "EuclideanLoss", "Exp", "Filter", "Flatten", "HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData",
    "InfogainLoss", "InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData",
    "MultinomialLogisticLoss", "PReLU", "Parameter", "Pooling", "Power", "Python", "RNN", "ReLU", "Reduction",
    "Reshape", "SPP", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss", "Silence", "Slice", "Softmax",
    "SoftmaxWithLoss", "Split", "Swish", "TanH", "Threshold", "Tile", "WindowData",
])
# fmt: on
_FILLERS = ("constant", "gaussian", "uniform", "xavier", "msra", "positive_unitball", "bilinear")
# How many bottoms and tops a layer takes: fewest and most of each (None: any number). Caffe itself gives a loss a top.
_ENDS: dict[str, tuple[int, int | None, int, int | None]] = {
    "Accuracy": (2, 2, 1, 2),
    "BatchNorm": (1, 1, 1, 1),
    "Concat": (1, None, 1, 1),
    "ContrastiveLoss": (3, 3, 0, 1),
    "Convolution": (1, None, 1, None),
    "Data": (0, 0, 1, 2),
    "Dropout": (1, 1, 1, 1),
    "Eltwise": (2, None, 1, 1),
    "EuclideanLoss": (2, 2, 0, 1),
    "HingeLoss": (2, 2, 0, 1),
    "ImageData": (0, 0, 2, 2),
    "InfogainLoss": (2, 3, 0, 2),
    "InnerProduct": (1, 1, 1, 1),
    "Input": (0, 0, 1, None),
    "LRN": (1, 1, 1, 1),
    "MultinomialLogisticLoss": (2, 2, 0, 1),
    "Pooling": (1, 1, 1, 2),
    "ReLU": (1, 1, 1, 1),
    "Scale": (1, 2, 1, 1),
    "SigmoidCrossEntropyLoss": (2, 2, 0, 1),
    "Softmax": (1, 1, 1, 1),
    "SoftmaxWithLoss": (2, 2, 0, 2),
}


def lint_net(
    net: caffe_pb2.NetParameter,
    path: str | Path,
    known_types: Collection[str] = KNOWN_LAYERS,
    states: Sequence[State] | None = None,
) -> list[str]:
    """All faults of a net as read from `path`, each as "path:line: ...", in the order of lines.

    Looked for: an unknown layer or filler type, a missing name, size or source, include beside exclude rules; and in
    each state, a bottom that nobody makes (or only a later layer), a top made twice, two layers of one name, a wrong
    number of bottoms or tops. `states` are by default both phases with every set of stages that the net's rules name.
    """
    lines = net_lines(net, path)
    found = {(lines[i], fault) for i, layer in enumerate(net.layer) for fault in _layer_faults(layer, known_types)}
    if not any(layer.include and layer.exclude for layer in net.layer):
        for state in states or states_named(net):
            positions = taking_part(net, state)
            found |= {(lines[i], fault) for i, fault in _wiring_faults(net, positions, lines)}
    return [f"{path}:{line}: {fault}" for line, fault in sorted(found)]


def net_lines(net: caffe_pb2.NetParameter, path: str | Path) -> list[int]:
    """The line in its file of each layer of a net (an Input layer made from old `input` fields is on line 1)."""
    lines = layer_lines(Path(path).read_text(encoding="utf-8"))
    return [1] * (len(net.layer) - len(lines)) + lines


def states_named(net: caffe_pb2.NetParameter) -> list[State]:
    """Both phases, each with every set of stages that an include rule of some layer asks for (or with none)."""
    states = []
    for phase in ("TRAIN", "TEST"):
        value = caffe_pb2.Phase.Value(phase)
        rules = [rule for layer in net.layer for rule in layer.include]
        asked = [tuple(r.stage) for r in rules if r.stage and (not r.HasField("phase") or r.phase == value)]
        states += [State(phase, stages) for stages in dict.fromkeys(asked or [()])]
    return states


def _layer_faults(layer: Layer, known_types: Collection[str]) -> Iterator[str]:
    """Faults that one layer has by itself."""
    if not layer.name:
        yield f"a {layer.type or 'layer'} layer has no name"
    if not layer.type:
        yield f"layer {layer.name!r} has no type"
    elif layer.type not in known_types:
        hint = nearest(layer.type, known_types) or f"; known: {', '.join(sorted(known_types))}"
        yield f"layer {layer.name!r}: unknown layer type {layer.type!r}{hint}"
    if layer.include and layer.exclude:
        yield f"layer {layer.name!r} has include and exclude rules; Caffe takes one kind or the other"
    yield from _size_faults(layer)
    for field, param in layer.ListFields():
        if field.name.endswith("_param") and field.message_type and hasattr(param, "ListFields"):
            for name, filler in param.ListFields():
                if name.name in ("weight_filler", "bias_filler") and filler.type not in _FILLERS:
                    hint = nearest(filler.type, _FILLERS)
                    yield f"layer {layer.name!r}: unknown {name.name} type {filler.type!r}{hint}"


def _size_faults(layer: Layer) -> Iterator[str]:
    """Sizes and sources that a layer of its type cannot do without."""
    name = layer.name
    if layer.type in ("Convolution", "Deconvolution"):
        conv = layer.convolution_param
        if not conv.num_output:
            yield f"layer {name!r}: convolution_param has no num_output"
        if not (conv.kernel_size or (conv.kernel_h and conv.kernel_w)):
            yield f"layer {name!r}: convolution_param has no kernel_size"
    elif layer.type == "InnerProduct" and not layer.inner_product_param.num_output:
        yield f"layer {name!r}: inner_product_param has no num_output"
    elif layer.type == "Pooling":
        pool = layer.pooling_param
        if not (pool.kernel_size or (pool.kernel_h and pool.kernel_w) or pool.global_pooling):
            yield f"layer {name!r}: pooling_param has no kernel_size"
    elif layer.type == "LRN" and layer.lrn_param.local_size % 2 == 0:
        yield f"layer {name!r}: local_size is {layer.lrn_param.local_size}; it must be odd"
    elif layer.type == "Dropout" and not 0 <= layer.dropout_param.dropout_ratio < 1:
        yield f"layer {name!r}: dropout_ratio is {layer.dropout_param.dropout_ratio:g}; it must be 0 or between 0 and 1"
    elif layer.type == "InfogainLoss" and len(layer.bottom) == 2 and not layer.infogain_loss_param.source:
        yield f"layer {name!r}: infogain_loss_param has no source; fer infogain writes one"
    elif layer.type == "Data":
        if not layer.data_param.source:
            yield f"layer {name!r}: data_param has no source"
        if not layer.data_param.batch_size:
            yield f"layer {name!r}: data_param has no batch_size"
    if layer.transform_param.mean_file and layer.transform_param.mean_value:
        yield f"layer {name!r}: transform_param has mean_file and mean_value; Caffe takes one or the other"


def _wiring_faults(
    net: caffe_pb2.NetParameter, positions: Sequence[int], lines: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Faults in how the layers at `positions` are joined: pairs of a position and a sentence."""
    makers: dict[str, int] = {}
    named: dict[str, int] = {}
    later = {top: i for i in reversed(positions) for top in net.layer[i].top}
    for i in positions:
        layer = net.layer[i]
        if layer.name and layer.name in named:
            yield i, f"two layers are called {layer.name!r}, the other on line {lines[named[layer.name]]}"
        named.setdefault(layer.name, i)
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


def _end_faults(layer: Layer) -> Iterator[str]:
    fewest_bottoms, most_bottoms, fewest_tops, most_tops = _ENDS.get(layer.type, (0, None, 0, None))
    ends = (("bottom", layer.bottom, fewest_bottoms, most_bottoms), ("top", layer.top, fewest_tops, most_tops))
    for kind, given, fewest, most in ends:
        if not fewest <= len(given) <= (len(given) if most is None else most):
            wanted = f"{fewest} or more" if most is None else f"{fewest}" if most == fewest else f"{fewest} to {most}"
            yield f"layer {layer.name!r}: a {layer.type} takes {wanted} {kind}(s), not {len(given)}"
