"""The files and folders that a net names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fer.schema import caffe_pb2

FIELDS = {  # of layers
    "data_param": ("source",),
    "image_data_param": ("source", "root_folder"),
    "hdf5_data_param": ("source",),
    "window_data_param": ("source", "root_folder"),
    "infogain_loss_param": ("source",),
    "transform_param": ("mean_file",),
}


def with_paths(net: caffe_pb2.NetParameter, path: Callable[[str], str]) -> caffe_pb2.NetParameter:
    """The net with each path that it names as `path` has it; the last slash of a folder, which counts, stays."""
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    for layer in copy.layer:
        for message, field in _named(layer):
            given = getattr(message, field)
            setattr(message, field, path(given.rstrip("/")) + "/" if given.endswith("/") else path(given))
    return copy


def _named(layer: caffe_pb2.LayerParameter) -> Iterator[tuple[object, str]]:
    for param, fields in FIELDS.items():
        if layer.HasField(param):
            message = getattr(layer, param)
            yield from ((message, field) for field in fields if getattr(message, field))
