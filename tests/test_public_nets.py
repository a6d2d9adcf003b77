"""Nets that everybody knows: the PyTorch engine gives them the published sizes, and real Caffe's shapes."""

import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from public_nets import NETS

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context
from fer.engines.registry import find_engine
from fer.nets.states import State
from fer.schema import caffe_pb2


def built(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Shapes of parameters by layer and of blobs, and the layers' types, as the PyTorch engine sets the net up."""
    net = Net(text_format.Parse(NETS[name].write(), caffe_pb2.NetParameter()), Context("TEST"))
    params = {layer: [list(blob.shape) for blob in blobs] for layer, blobs in net.params.items()}
    return params, {blob: list(shape) for blob, shape in net.shapes.items()}, {n.name: n.type for n in net.nodes}


def count(params: dict[str, Any]) -> int:
    return sum(math.prod(shape) for shapes in params.values() for shape in shapes)


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    params, blobs, types = built(name)
    assert count({layer: shapes for layer, shapes in params.items() if types[layer] != "BatchNorm"}) == (
        NETS[name].parameters
    )
    assert math.prod(blobs["prob"]) == (10 if name == "lenet" else 1000)


def test_googlenet_without_its_side_classifiers() -> None:
    params, _, _ = built("googlenet")
    assert count({layer: shapes for layer, shapes in params.items() if not layer.startswith("side")}) == 6_998_552


@pytest.mark.full
@pytest.mark.parametrize("name", NETS)
def test_shapes_are_real_caffe_s(tmp_path: Path, name: str) -> None:
    """Of every blob, Caffe's own splits among them, and of every parameter."""
    path = tmp_path / f"{name}.prototxt"
    path.write_text(NETS[name].write())
    caffes = find_engine("caffe").describe(path, State("TEST"))
    params, blobs, types = built(name)
    assert params == caffes["params"]
    assert blobs == caffes["blobs"]
    assert types == caffes["types"]
