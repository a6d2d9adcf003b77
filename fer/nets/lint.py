"""Faults of a net that Caffe would abort on, or pass over in silence, found from its prototxt alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from fer.errors import nearest
from fer.formats.forks import LAYER_TYPES
from fer.formats.prototxt_text import file_path, is_utf8, read_text
from fer.formats.tokens import layer_lines
from fer.formats.upgrade import V1_TYPES
from fer.nets.fillers import filler_fault
from fer.nets.shapes import pooling_pairs
from fer.nets.states import State, taking_part
from fer.nets.wiring import wiring_faults
from fer.schema import caffe_pb2

Layer: TypeAlias = caffe_pb2.LayerParameter

# fmt: off
KNOWN_LAYERS = frozenset([
    "AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip", "Concat", "ContrastiveLoss",
    "Convolution", "Crop", "Data", "Deconvolution", "Dropout", "DummyData", "ELU", "Eltwise", "Embed",
    "EuclideanLoss", "Exp", "Filter", "Flatten", "HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData",
    "InfogainLoss", "InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData",
    "MultinomialLogisticLoss", "PReLU", "Parameter", "Pooling", "Power", "Python", "RNN", "ReLU", "Reduction",
    "Reshape", "SPP", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss", "Silence", "Slice", "Softmax",
    "SoftmaxWithLoss", "Split", "Swish", "TanH", "Threshold", "Tile", "WindowData",
])
# fmt: on
_FILLED = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
    "Embed": "embed_param",
    "Scale": "scale_param",
    "Bias": "bias_param",
    "PReLU": "prelu_param",
    "DummyData": "dummy_data_param",
    "LSTM": "recurrent_param",
    "RNN": "recurrent_param",
}  # fmt: skip
NOWHERE: Mapping[str, str] = MappingProxyType({})
_PATHS = ("source", "root_folder", "mean_file")


def lint_net(
    net: caffe_pb2.NetParameter,
    path: str | Path,
    known_types: Collection[str] = KNOWN_LAYERS,
    states: Sequence[State] | None = None,
    *,
    elsewhere: Mapping[str, str] = NOWHERE,
) -> list[str]:
    """All faults of a net as read from `path`, each as "path:line: ...", in the order of lines.

    Looked for: an unknown layer or filler type, a missing size or source, include beside exclude rules; and in each
    state, what `wiring_faults` finds. `states` are by default both phases with every set of stages that the net's
    rules name. `elsewhere` has what to say of types that are not known here, and are to other engines.
    """
    lines = net_lines(net, path)
    found = {
        (lines[i], fault) for i, layer in enumerate(net.layer) for fault in _layer_faults(layer, known_types, elsewhere)
    }
    if not any(layer.include and layer.exclude for layer in net.layer):
        for state in states or states_named(net):
            positions = taking_part(net, state)
            found |= {(lines[i], fault) for i, fault in wiring_faults(net, positions, lines)}
    return [f"{path}:{line}: {fault}" for line, fault in sorted(found)]


def net_lines(net: caffe_pb2.NetParameter, path: str | Path) -> list[int]:
    """The line in its file of each layer of a net (an Input layer made from old `input` fields is on line 1)."""
    lines = layer_lines(read_text(path))
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


def _layer_faults(layer: Layer, known_types: Collection[str], elsewhere: Mapping[str, str]) -> Iterator[str]:
    """Faults that one layer has by itself."""
    if not layer.type:
        yield f"layer {layer.name!r} has no type"
    elif layer.type not in known_types:
        unknown = f"unknown layer type {layer.type!r}{_type_hint(layer.type, known_types)}"
        yield f"layer {layer.name!r}: {elsewhere.get(layer.type, unknown)}"
    if layer.include and layer.exclude:
        yield f"layer {layer.name!r} has include and exclude rules; Caffe takes one kind or the other"
    yield from _size_faults(layer)
    for field, param in layer.ListFields():
        if field.name.endswith("_param") and field.message_type and hasattr(param, "ListFields"):
            for name, filler in param.ListFields():
                if not isinstance(filler, caffe_pb2.FillerParameter) or not _fills(layer, field.name, param, name.name):
                    continue
                if fault := filler_fault(filler):
                    yield f"layer {layer.name!r}: {name.name}: {fault}"
            for name, value in param.ListFields():
                if name.name in _PATHS and (fault := _path_fault(value)):
                    yield f"layer {layer.name!r}: {name.name} {value!r}: {fault}"
    if layer.blobs:
        yield f"layer {layer.name!r} holds blobs; delete them: weights come as a .caffemodel, with --weights"


def _fills(layer: Layer, field: str, param: Any, filler: str) -> bool:
    """Whether a layer uses a filler: Caffe looks at no other layer's, and at none of a bias that is not there."""
    has_bias = filler != "bias_filler" or getattr(param, "bias_term", True)
    return field == _FILLED.get(layer.type, field if layer.type not in KNOWN_LAYERS else "") and has_bias


def _path_fault(value: str) -> str | None:
    if min(value, default=" ") < " ":
        return "a backslash in a path? write /"
    if not is_utf8(value) and file_path(value).exists():
        return "bytes that are not UTF-8 in a path; rename it"
    return None


def _type_hint(name: str, known_types: Collection[str]) -> str:
    if name in KNOWN_LAYERS:
        return ": Caffe has it, this engine has not"
    if new := V1_TYPES.get(name):
        return f": in a layer {{ ... }} block it is {new!r}"
    if fork := LAYER_TYPES.get(name):
        return f": it is {fork}"
    return nearest(name, known_types) or f"; known: {', '.join(sorted(known_types))}"


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
        elif fault := pooling_pairs(pool):
            yield f"layer {name!r}: {fault}"
    elif layer.type == "LRN" and layer.lrn_param.local_size % 2 == 0:
        yield f"layer {name!r}: local_size is {layer.lrn_param.local_size}; it must be odd"
    elif layer.type == "Dropout" and not 0 <= layer.dropout_param.dropout_ratio < 1:
        ratio = f"dropout_ratio is {layer.dropout_param.dropout_ratio:g}"
        yield f"layer {name!r}: {ratio}; it must be 0 or between 0 and 1 (of 1, Caffe makes nan)"
    elif layer.type == "Clip" and not layer.HasField("clip_param"):
        yield f"layer {name!r}: clip_param is missing, with its min and max; Caffe would make all numbers 0"
    elif layer.type == "Clip" and layer.clip_param.min > layer.clip_param.max:
        yield f"layer {name!r}: clip_param's min is above its max; Caffe would make all numbers the min"
    elif layer.type == "InfogainLoss" and len(layer.bottom) == 2 and not layer.infogain_loss_param.source:
        yield f"layer {name!r}: infogain_loss_param has no source; fer infogain writes one"
    elif layer.type == "Data":
        if not layer.data_param.source:
            yield f"layer {name!r}: data_param has no source"
        if not layer.data_param.batch_size:
            yield f"layer {name!r}: data_param has no batch_size"
    if layer.transform_param.mean_file and layer.transform_param.mean_value:
        yield f"layer {name!r}: transform_param has mean_file and mean_value; Caffe takes one or the other"
