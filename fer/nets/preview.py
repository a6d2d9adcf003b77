"""The front of a net: what is done to images before the net proper takes them."""

from __future__ import annotations

from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2

_OF_DATA = ("Python", "Power")  # what changes images and learns nothing


def data_part(net: caffe_pb2.NetParameter, state: State) -> caffe_pb2.NetParameter:
    """The net's layers without a bottom, and those behind them that only change what these give (Augment).

    Its outputs are what the net proper is given: images, labels.
    """
    filtered = filter_net(net, state)
    part = caffe_pb2.NetParameter(name=net.name)
    made: set[str] = set()
    for layer in filtered.layer:
        if not layer.bottom or (layer.type in _OF_DATA and made.issuperset(layer.bottom)):
            part.layer.add().CopyFrom(layer)
            made.update(layer.top)
    return part
