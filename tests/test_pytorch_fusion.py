"""Layers run as one: which are, which may not be, and that losses, gradients and statistics stay what they were."""

import pytest
import torch
from google.protobuf import text_format

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.schema import caffe_pb2

DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 6 dim: 2 dim: 9 dim: 9 } shape { dim: 6 } data_filler { type: "gaussian" std: 1 } data_filler { } } }
"""
LOSS = """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def layer(name: str, type_: str, more: str = "", bottom: str = "x", top: str = "x") -> str:
    return f'layer {{ name: "{name}" type: "{type_}" bottom: "{bottom}" top: "{top}" {more} }}\n'


def conv(bottom: str = "data") -> str:
    filler = 'weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.5 }'
    return layer("conv", "Convolution", f"convolution_param {{ num_output: 4 kernel_size: 3 {filler} }}", bottom)


def pool(method: str = "MAX", top: str = "x") -> str:
    return layer("pool", "Pooling", f"pooling_param {{ pool: {method} kernel_size: 3 stride: 2 }}", "x", top)


RELU = layer("relu", "ReLU")
NORM = layer("bn", "BatchNorm")
GAUSSIAN = 'filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 }'
SCALE = layer("scale", "Scale", f"scale_param {{ bias_term: true {GAUSSIAN} }}")

# name: (layers between the data and the loss, the types that then run)
NETS = {
    "conv, relu": (conv() + RELU, ["Convolution+ReLU"]),
    "not in place": (conv() + layer("relu", "ReLU", top="y") + layer("p", "Power", bottom="y"),
                     ["Convolution+ReLU", "Power"]),
    "relu, max pool": (conv() + RELU + pool(), ["Convolution", "ReLU+Pooling"]),
    "relu, max pool to another top": (conv() + RELU + pool(top="y") + layer("p", "Power", bottom="y"),
                                      ["Convolution", "ReLU+Pooling", "Power"]),
    "leaky": (conv() + layer("relu", "ReLU", "relu_param { negative_slope: 0.1 }") + pool(),
              ["Convolution", "ReLU+Pooling"]),
    "falling": (conv() + layer("relu", "ReLU", "relu_param { negative_slope: -0.1 }") + pool(),
                ["Convolution", "ReLU", "Pooling"]),
    "relu, mean pool": (conv() + RELU + pool("AVE"), ["Convolution+ReLU", "Pooling"]),
    "batch norm": (conv() + NORM + SCALE + RELU, ["Convolution", "BatchNorm+Scale+ReLU"]),
    "batch norm, max pool": (conv() + NORM + SCALE + RELU + pool(),
                             ["Convolution", "BatchNorm+Scale", "ReLU+Pooling"]),
    "batch norm without scale": (conv() + NORM + RELU, ["Convolution", "BatchNorm+ReLU"]),
    "scale without a term": (conv() + NORM + layer("scale", "Scale", f"scale_param {{ {GAUSSIAN} }}"),
                             ["Convolution", "BatchNorm+Scale"]),
    "scale over more than channels": (
        conv() + NORM + layer("scale", "Scale", f"scale_param {{ axis: 1 num_axes: 2 {GAUSSIAN} }}"),
        ["Convolution", "BatchNorm", "Scale"]),
    "the mean of one number": (
        layer("ip0", "InnerProduct", 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }', "data")
        + layer("flat", "Reshape", "reshape_param { shape { dim: 1 dim: 24 } }") + NORM + SCALE
        + layer("back", "Reshape", "reshape_param { shape { dim: 6 dim: 4 } }"),
        ["InnerProduct", "Reshape", "BatchNorm+Scale", "Reshape"]),
    "inner product": (
        layer("ip0", "InnerProduct", 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }', "data")
        + RELU, ["InnerProduct+ReLU"]),
    "read twice": (conv() + layer("relu", "ReLU", top="y")
                   + 'layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "y" top: "x" }',
                   ["Convolution", "Split", "ReLU", "Eltwise"]),
    "a loss of its own": (conv().replace('top: "x"', 'top: "x" loss_weight: 0.1') + layer("relu", "ReLU", top="y")
                          + layer("p", "Power", bottom="y"), ["Convolution", "Split", "ReLU", "Power"]),
    "needs its top": (conv() + layer("s", "Sigmoid") + RELU, ["Convolution", "Sigmoid", "ReLU"]),
    "no gradient goes down": (conv() + layer("relu", "ReLU", "propagate_down: false"), ["Convolution", "ReLU"]),
}  # fmt: skip


def build(layers: str, phase: str, memory_format: torch.memory_format = torch.channels_last) -> Net:
    net = text_format.Parse("force_backward: true " + DATA + layers + LOSS, caffe_pb2.NetParameter())
    return Net(net, Context(phase, seeds=Seeds(3), memory_format=memory_format))


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", NETS)
def test_fused_layers_do_the_same(name: str, phase: str) -> None:
    layers, types = NETS[name]
    plain, lean = build(layers, phase), build(layers, phase)
    lean.run_lean()
    assert [node.type for node in lean.schedule[1:-2]] == types
    assert [node.type for node in lean.nodes] == [node.type for node in plain.nodes]
    losses = [net.forward() for net in (plain, lean)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    assert set(lean.blobs) == {name for name, _ in lean.outputs}
    for loss in losses:
        if loss.requires_grad:  # in TEST only by force_backward
            loss.backward()
    for ours, theirs in zip(lean.learnable, plain.learnable, strict=True):
        assert torch.allclose(ours.parameter, theirs.parameter, rtol=1e-6)  # statistics of a batch norm
        mine, wanted = ours.parameter.grad, theirs.parameter.grad
        if mine is None or wanted is None:
            assert mine is wanted
        else:
            assert torch.allclose(mine, wanted, rtol=1e-4, atol=1e-6)


def test_a_plain_net_keeps_every_blob() -> None:
    net = build(conv() + NORM + SCALE + RELU + pool(top="y") + layer("p", "Power", bottom="y"), "TRAIN")
    net.forward()
    assert {"data", "label", "x", "y", "ip", "loss"} <= set(net.blobs)


def test_how_images_lie_in_memory_changes_no_number() -> None:
    layers = conv() + layer("norm", "LRN") + NORM + SCALE + RELU + pool()
    nets = [build(layers, "TRAIN", memory_format) for memory_format in (torch.channels_last, torch.contiguous_format)]
    assert [net.params["conv"][0].is_contiguous() for net in nets] == [False, True]
    for net in nets:
        net.forward().backward()
    for ours, theirs in zip(nets[0].learnable, nets[1].learnable, strict=True):
        for ends in ((ours.parameter, theirs.parameter), (ours.parameter.grad, theirs.parameter.grad)):
            if ends[0] is not None and ends[1] is not None:
                torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-6)
