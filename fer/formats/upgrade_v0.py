"""Nets in Caffe's first format, of 2013 (`layers { layer { ... } bottom: ... }`), brought to the second."""

from __future__ import annotations

from collections.abc import Mapping

from fer.errors import FerError
from fer.schema import caffe_pb2

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_PADDING = "padding"
_SOURCES = {
    "data": "data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
    "hdf5_data": "hdf5_data_param",
}
_WITH_PARAMETERS = {"conv": "convolution_param", "innerproduct": "inner_product_param"}
_WINDOWS = {"conv": "convolution_param", "pool": "pooling_param"}
_LRN = {"lrn": "lrn_param"}
_IMAGES = {"images": "image_data_param"}
_DETECTIONS = {"window_data": "window_data_param"}
# Field -> its name now, and the message that holds it by the layer's type.
_FIELDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "num_output": ("num_output", _WITH_PARAMETERS),
    "biasterm": ("bias_term", _WITH_PARAMETERS),
    "weight_filler": ("weight_filler", _WITH_PARAMETERS),
    "bias_filler": ("bias_filler", _WITH_PARAMETERS),
    "pad": ("pad", _WINDOWS),
    "kernelsize": ("kernel_size", _WINDOWS),
    "stride": ("stride", _WINDOWS),
    "group": ("group", {"conv": "convolution_param"}),
    "pool": ("pool", {"pool": "pooling_param"}),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", _LRN),
    "alpha": ("alpha", _LRN),
    "beta": ("beta", _LRN),
    "k": ("k", _LRN),
    "source": ("source", {**_SOURCES, "infogain_loss": "infogain_loss_param"}),
    "batchsize": ("batch_size", _SOURCES),
    "rand_skip": ("rand_skip", {"data": "data_param", "images": "image_data_param"}),
    "shuffle_images": ("shuffle", _IMAGES),
    "new_height": ("new_height", _IMAGES),
    "new_width": ("new_width", _IMAGES),
    "det_fg_threshold": ("fg_threshold", _DETECTIONS),
    "det_bg_threshold": ("bg_threshold", _DETECTIONS),
    "det_fg_fraction": ("fg_fraction", _DETECTIONS),
    "det_context_pad": ("context_pad", _DETECTIONS),
    "det_crop_mode": ("crop_mode", _DETECTIONS),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
}
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_OWN = ("name", "type", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")


def is_v0(net: caffe_pb2.NetParameter) -> bool:
    """Whether a net is in the first format."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade_v0(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net with `layers { name: ... type: CONVOLUTION ... }` in the place of `layers { layer { ... } }`.

    A padding layer goes into the convolution behind it. Raises FerError for what Caffe does not upgrade either.
    """
    upgraded = caffe_pb2.NetParameter()
    upgraded.CopyFrom(net)
    del upgraded.layers[:]
    makers: dict[str, caffe_pb2.V1LayerParameter] = {}
    for old in net.layers:
        made = caffe_pb2.V1LayerParameter(bottom=old.bottom, top=old.top)
        if old.layer.type != _PADDING:
            _fill(made, old.layer)
            _take_padding(made, makers)
            upgraded.layers.append(made)
        makers.update((top, old) for top in old.top)
    return upgraded


def _fill(new: caffe_pb2.V1LayerParameter, old: caffe_pb2.V0LayerParameter) -> None:
    kind = old.type
    if kind not in _TYPES:
        raise FerError(
            f"layer {old.name!r}: Caffe's V0 format has no type {kind!r}; it has {', '.join(sorted(_TYPES))}"
        )
    new.name = old.name
    new.type = getattr(caffe_pb2.V1LayerParameter, _TYPES[kind])
    new.blobs.extend(old.blobs)
    new.blobs_lr.extend(old.blobs_lr)
    new.weight_decay.extend(old.weight_decay)
    if old.HasField("hdf5_output_param"):
        new.hdf5_output_param.CopyFrom(old.hdf5_output_param)
    for field, value in old.ListFields():
        if field.name in _OWN:
            continue
        if field.name in _TRANSFORM:
            setattr(new.transform_param, _TRANSFORM[field.name], value)
            continue
        name, owners = _FIELDS.get(field.name, ("", {}))
        if kind not in owners:
            raise FerError(f"layer {old.name!r} ({kind}): Caffe's V0 format has no {field.name} for it")
        _set(getattr(new, owners[kind]), name, value)


def _set(param: object, name: str, value: object) -> None:
    current = getattr(param, name)
    if hasattr(value, "CopyFrom"):
        current.CopyFrom(value)
    elif hasattr(current, "append"):  # kernel sizes are lists now
        current.append(value)
    else:
        setattr(param, name, value)


def _take_padding(layer: caffe_pb2.V1LayerParameter, makers: Mapping[str, caffe_pb2.V1LayerParameter]) -> None:
    """Let a convolution behind a padding layer do the padding itself."""
    for number, bottom in enumerate(layer.bottom):
        maker = makers.get(bottom)
        if maker is None or maker.layer.type != _PADDING:
            continue
        if layer.type != caffe_pb2.V1LayerParameter.CONVOLUTION or len(layer.bottom) != 1 or len(maker.bottom) != 1:
            raise FerError(f"layer {layer.name!r}: a padding layer is in front of it, which is for convolutions alone")
        del layer.convolution_param.pad[:]
        layer.convolution_param.pad.append(maker.layer.pad)
        layer.bottom[number] = maker.bottom[0]
