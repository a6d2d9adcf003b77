"""Forms for chips of their own: what their toolkits are given. `make test-exports` runs these themselves."""

import numpy as np
import pytest
from drawn_net import INPUT, by_torch, drawn
from google.protobuf import text_format

from fer.errors import FerError
from fer.export.forms import FORMS
from fer.export.simulated_forms import NNCASE, RKNN, as_convolutions
from fer.export.tool import TOOLS, Tool
from fer.nets.fold import Folded
from fer.schema import caffe_pb2

PRODUCT = "inner_product_param { num_output: 5 %s }"
NETS = {
    "twice, with what is in place between": f"""
      layer {{ name: "a" type: "InnerProduct" bottom: "data" top: "a" {PRODUCT % ""} }}
      layer {{ name: "relu" type: "ReLU" bottom: "a" top: "a" }}
      layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" {PRODUCT % "bias_term: false"} }}
      layer {{ name: "prob" type: "Softmax" bottom: "b" top: "prob" softmax_param {{ axis: -1 }} }}""",
    "transposed, behind a Flatten": f"""
      layer {{ name: "flat" type: "Flatten" bottom: "data" top: "data" }}
      layer {{ name: "a" type: "InnerProduct" bottom: "data" top: "data" {PRODUCT % "transpose: true"} }}""",
    "of two side by side": f"""
      layer {{ name: "a" type: "InnerProduct" bottom: "data" top: "a" {PRODUCT % ""} }}
      layer {{ name: "b" type: "InnerProduct" bottom: "data" top: "b" {PRODUCT % ""} }}
      layer {{ name: "both" type: "Concat" bottom: "a" bottom: "b" top: "both" concat_param {{ axis: -1 }} }}""",
    "behind a convolution": f"""
      layer {{ name: "conv" type: "Convolution" bottom: "data" top: "c" convolution_param {{ num_output: 3
        kernel_size: 4 stride: 2 }} }}
      layer {{ name: "a" type: "InnerProduct" bottom: "c" top: "a" {PRODUCT % ""} }}""",
}


@pytest.mark.parametrize("layers", NETS.values(), ids=NETS)
def test_an_inner_product_is_a_convolution_of_all(layers: str) -> None:
    net = text_format.Parse(INPUT + layers, caffe_pb2.NetParameter())
    blobs = drawn(net)
    made = as_convolutions(Folded(net, blobs))
    assert not {"InnerProduct", "Flatten"} & {layer.type for layer in made.net.layer}
    images = np.random.default_rng(2).normal(size=(3, 2, 11, 12)).astype(np.float32)
    np.testing.assert_allclose(
        by_torch(made.net, made.blobs, images), by_torch(net, blobs, images), rtol=1e-6, atol=2e-6
    )
    assert {layer.type for layer in net.layer} & {"InnerProduct"}  # the net itself stays


def test_their_tools_say_what_they_pinned_and_want(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RKNN.versions()["rknn-toolkit2"] and NNCASE.versions()["nncase"]
    for tool in (RKNN, NNCASE):
        header = (TOOLS / f"{tool.name}_tool.py").read_text()
        assert f'requires-python = ">={tool.python},<' in header and tool.script.version == tool.python
        assert not any(f'name = "{each}"' in tool.script.lock.read_text() for each in ("nvidia-cublas-cu12", "triton"))
    monkeypatch.setattr(Tool, "is_there", lambda tool: False)
    for name in ("rknn", "rknn-rv1106", "kmodel"):
        with pytest.raises(FerError, match=f"--format {name}: .* is not there; fer export --yes fetches it"):
            FORMS[name].need()
