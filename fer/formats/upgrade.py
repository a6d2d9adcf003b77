"""Nets in Caffe's older formats, brought to the present one as Caffe does on load."""

from __future__ import annotations

from google.protobuf.message import Message

from fer.errors import FerError
from fer.formats.upgrade_v0 import is_v0, upgrade_v0
from fer.schema import caffe_pb2

# The names of a V1 layer's enum, in the spelling that replaced them.
V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "REVERSE": "Reverse",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
_SHARE_MODES = {0: caffe_pb2.ParamSpec.STRICT, 1: caffe_pb2.ParamSpec.PERMISSIVE}
_TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")
_DATA_PARAMS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
# Fields that a V1 layer keeps under another name or shape in the present format.
_V1_OWN = {"type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer"}


def upgrade_net(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net in the present format: `layers` -> `layer`, `input` fields -> an Input layer, the data layers' old
    transformation fields -> transform_param, a BatchNorm's three rates of learning -> 0.

    A net already in it comes back equal; one in the V0 format (`layers { layer { ... } }`) is upgraded twice. Raises
    FerError for what Caffe does not upgrade.
    """
    if is_v0(net):
        net = upgrade_v0(net)
    if net.layers and net.layer:
        raise FerError("this net mixes old `layers` and new `layer` blocks; Caffe would drop the new ones")
    upgraded = caffe_pb2.NetParameter()
    upgraded.CopyFrom(net)
    upgraded.layer.extend(_upgrade_v1(layer) for layer in net.layers)
    del upgraded.layers[:]
    for layer in upgraded.layer:
        _move_transform(layer)
        _freeze_batch_norm(layer)
    _inputs_to_layer(upgraded)
    return upgraded


def _upgrade_v1(old: caffe_pb2.V1LayerParameter) -> caffe_pb2.LayerParameter:
    new = caffe_pb2.LayerParameter(type=V1_TYPES[caffe_pb2.V1LayerParameter.LayerType.Name(old.type)])
    for field, value in old.ListFields():
        if field.name in _V1_OWN:
            continue
        if isinstance(value, Message):
            getattr(new, field.name).CopyFrom(value)
        elif isinstance(value, str | int | float):
            setattr(new, field.name, value)
        else:
            getattr(new, field.name).extend(value)
    count = max(len(old.param), len(old.blob_share_mode), len(old.blobs_lr), len(old.weight_decay))
    new.param.extend(caffe_pb2.ParamSpec() for _ in range(count))
    for spec, name in zip(new.param, old.param, strict=False):
        spec.name = name
    for spec, mode in zip(new.param, old.blob_share_mode, strict=False):
        spec.share_mode = _SHARE_MODES[mode]
    for spec, lr in zip(new.param, old.blobs_lr, strict=False):
        spec.lr_mult = lr
    for spec, decay in zip(new.param, old.weight_decay, strict=False):
        spec.decay_mult = decay
    return new


def _move_transform(layer: caffe_pb2.LayerParameter) -> None:
    """Move a data layer's own scale, mean, crop and mirror into its transform_param."""
    name = _DATA_PARAMS.get(layer.type)
    if name is None or not layer.HasField(name):
        return
    param = getattr(layer, name)
    for field in _TRANSFORMS:
        if param.HasField(field):
            setattr(layer.transform_param, field, getattr(param, field))
            param.ClearField(field)


def _freeze_batch_norm(layer: caffe_pb2.LayerParameter) -> None:
    """A BatchNorm's three blobs are statistics; older nets gave them rates, which must be 0."""
    if layer.type == "BatchNorm" and len(layer.param) == 3:
        for spec in layer.param:
            spec.lr_mult = 0
            spec.decay_mult = 0


def _inputs_to_layer(net: caffe_pb2.NetParameter) -> None:
    """Turn the net's `input` with `input_shape` or `input_dim` into an Input layer in front."""
    if net.input_shape or net.input_dim:
        shapes = list(net.input_shape)
        if not shapes:
            if len(net.input_dim) != 4 * len(net.input):
                raise FerError(f"{len(net.input)} input(s) need 4 input_dim each, found {len(net.input_dim)} in all")
            dims = [net.input_dim[i : i + 4] for i in range(0, len(net.input_dim), 4)]
            shapes = [caffe_pb2.BlobShape(dim=dim) for dim in dims]
        if len(shapes) != len(net.input):
            raise FerError(f"{len(net.input)} input(s) need one input_shape each, found {len(shapes)}")
        front = caffe_pb2.LayerParameter(name="input", type="Input", top=net.input)
        front.input_param.shape.extend(shapes)
        layers = [front, *net.layer]
        del net.layer[:]
        net.layer.extend(layers)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
