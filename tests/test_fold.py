"""BatchNorm, Scale and Bias folded into the layer before them: the same numbers, and why one is left."""

import numpy as np
import pytest
from drawn_net import by_torch, drawn
from google.protobuf import text_format

from fer.formats.prototxt import read_net
from fer.nets.fold import Folded, fold
from fer.nets.shapes import infer_shapes
from fer.nets.zoo import NETS, net_names
from fer.schema import caffe_pb2

AFFINE = {"BatchNorm", "Scale", "Bias"}
DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 5 } } }'
CONV = 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 %s } }'
IP = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "conv" inner_product_param { num_output: 4 %s } }'
UP = 'layer { name: "up" type: "Deconvolution" bottom: "data" top: "conv" convolution_param { num_output: 4 %s } }'
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" batch_norm_param { %s } }'
HERE = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "%s" top: "%s" scale_param { bias_term: %s } }'
BIAS = 'layer { name: "bias" type: "Bias" bottom: "conv" top: "conv" %s }'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "%s" top: "%s" }'

WHOLE = {
    "in place": CONV % "kernel_size: 3" + HERE + SCALE % ("conv", "conv", "true") + RELU % ("conv", "conv"),
    "by names of their own": CONV % "kernel_size: 3 bias_term: false" + BN % "eps: 0.1" + SCALE % ("bn", "s", "true"),
    "groups": CONV % "kernel_size: 3 group: 2" + HERE,
    "no bias at all": CONV % "kernel_size: 1 bias_term: false" + SCALE % ("conv", "conv", "false"),
    "a Bias": CONV % "kernel_size: 1 bias_term: false" + BIAS % "",
    "one number for all": CONV % "kernel_size: 1" + BIAS % "bias_param { num_axes: 0 }",
    "inner product": IP % "" + HERE + SCALE % ("conv", "conv", "true"),
    "inner product, transposed": IP % "transpose: true bias_term: false" + HERE,
    "deconvolution": UP % "kernel_size: 2 stride: 2" + HERE + SCALE % ("conv", "conv", "true"),
    "twice": CONV % "kernel_size: 3" + HERE + SCALE % ("conv", "c", "true") + RELU % ("c", "c")
    + CONV.replace('"conv"', '"conv2"').replace('"data"', '"c"') % "kernel_size: 1"
    + BN.replace('"conv"', '"conv2"').replace('"bn"', '"bn2"') % "",
}  # fmt: skip
LEFT = {
    "follows a ReLU layer, not": CONV % "kernel_size: 1" + RELU % ("conv", "conv") + HERE,
    "follows a Input layer, not": BN.replace('"conv"', '"data"') % "",
    "relu reads what is before it, too": CONV % "kernel_size: 1" + RELU % ("conv", "r") + BN % "",
    "own statistics": CONV % "kernel_size: 1" + BN % "use_global_stats: false",
    "more than one number a channel": CONV % "kernel_size: 1" + BIAS % "bias_param { axis: 2 }",
    "up has groups": UP % "kernel_size: 1 group: 2" + HERE,
}


def folded(layers: str) -> tuple[caffe_pb2.NetParameter, dict[str, list[np.ndarray]], Folded]:
    net = text_format.Parse(DATA + layers, caffe_pb2.NetParameter())
    blobs = drawn(net)
    return net, blobs, fold(net, blobs)


def check_equal(net: caffe_pb2.NetParameter, blobs: dict[str, list[np.ndarray]], made: Folded) -> None:
    shape = (3, *infer_shapes(net).blobs[net.layer[0].top[0]][1:])
    inputs = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    before, after = by_torch(net, blobs, inputs), by_torch(made.net, made.blobs, inputs)
    assert before.std() > 1e-3
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_folded_gives_the_same_numbers(case: str) -> None:
    net, blobs, made = folded(WHOLE[case])
    assert not made.left and not AFFINE & {layer.type for layer in made.net.layer}
    assert made.net.layer[-1].top == net.layer[-1].top
    check_equal(net, blobs, made)


@pytest.mark.parametrize("words", LEFT)
def test_what_cannot_be_folded_stays_and_is_named(words: str) -> None:
    net, blobs, made = folded(LEFT[words])
    (reason,) = made.left.values()
    assert words in reason and made.net == net
    assert made.blobs.keys() == blobs.keys()


def test_a_scale_by_another_blob_stays() -> None:
    two = BIAS.replace(' top: "conv"', ' bottom: "data" top: "conv"') % ""
    net = text_format.Parse(DATA + CONV % "kernel_size: 1" + two, caffe_pb2.NetParameter())
    assert fold(net, {"conv": [np.ones((4, 4, 1, 1))]}).left == {"bias": "it has 2 bottoms"}


@pytest.mark.parametrize("name", [name for name in net_names() if name != "alexnet227"])
def test_every_shipped_net(name: str) -> None:
    net = read_net(NETS / name / "deploy.prototxt")
    blobs = drawn(net)
    made = fold(net, blobs)
    assert not made.left and not AFFINE & {layer.type for layer in made.net.layer}
    check_equal(net, blobs, made)
