"""Python layers of a net: real Caffe imports their modules, which runs whatever is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fer.errors import FerError
from fer.nets.lint import net_lines
from fer.schema import caffe_pb2

ALLOW = "--allow-python-layers"
AUGMENT = "augment"  # the module of the layer that every engine has


def foreign_modules(net: caffe_pb2.NetParameter) -> Iterator[tuple[int, str]]:
    """Positions of the Python layers that are not fer's own Augment, in whatever state, and what each would import."""
    for i, layer in enumerate(net.layer):
        param = layer.python_param
        if layer.type == "Python" and (param.module, param.layer) != (AUGMENT, "Augment"):
            yield i, f"layer {layer.name!r} makes Caffe import, and so run, the Python module {param.module!r}"


def check_allowed(net: caffe_pb2.NetParameter, path: Path) -> None:
    """Raise FerError where a net as read from `path` has a Python layer of somebody's."""
    for i, sentence in foreign_modules(net):
        raise FerError(f"{path}:{net_lines(net, path)[i]}: {sentence}\nif you trust it, go on with {ALLOW}")
