"""Layers that a form cannot hold."""

from collections.abc import Callable, Collection, Mapping

from fer.errors import FerError
from fer.schema import caffe_pb2


class LayersRefused(FerError):
    """`layers`: what a converter has not, as "MVN layers", by the name of the layer that wants it."""

    def __init__(self, converter: str, layers: Mapping[str, str]):
        super().__init__("\n".join(f"layer {name!r}: {converter} has no {what}" for name, what in layers.items()))
        self.layers = layers


class Refused(Exception):  # no error yet: all of them are told at once
    """What a converter has not, of the layer that it is at."""


def check_types(converter: str, net: caffe_pb2.NetParameter, known: Collection[str]) -> None:
    """Raises LayersRefused where there are layers of types that the converter does not know."""
    unknown = {layer.name: f"{layer.type} layers" for layer in net.layer if layer.type not in (*known, "Input")}
    if unknown:
        raise LayersRefused(converter, unknown)


def refused_by(convert: Callable[[], object]) -> Mapping[str, str]:
    """The layers that a conversion refuses, and what of each."""
    try:
        convert()
    except LayersRefused as fault:
        return fault.layers
    return {}
