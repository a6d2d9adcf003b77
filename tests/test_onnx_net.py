"""Caffe's nets as ONNX: every layer that is covered, and every shipped net, against Caffe's rules on PyTorch."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_net import CASES, INPUT, UNCOVERED, by_torch, drawn, net_of
from google.protobuf import text_format

from fer.errors import FerError
from fer.export.onnx_model import to_onnx
from fer.formats.prototxt import read_net
from fer.nets.transform import Transform
from fer.nets.zoo import NETS, net_names
from fer.schema import caffe_pb2


def by_opencv(model: bytes, pixels: np.ndarray) -> np.ndarray:
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    net.setInput(pixels)
    return net.forward()


def plain(shape: tuple[int, int, int]) -> Transform:
    return Transform(caffe_pb2.TransformationParameter(), shape)


@pytest.mark.parametrize("case", CASES)
def test_each_layer(case: str) -> None:
    net = net_of(case)
    blobs = drawn(net)
    pixels = np.random.default_rng(2).normal(size=(3, 2, 11, 12)).astype(np.float32)
    expected = by_torch(net, blobs, pixels)
    answer = by_opencv(to_onnx(net, blobs, plain((2, 11, 12))).SerializeToString(), pixels)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in net_names() if name != "alexnet227"])
def test_each_shipped_net_with_its_transform(name: str, tmp_path: Path) -> None:
    net = read_net(NETS / name / "deploy.prototxt")
    crop = net.layer[0].input_param.shape[0].dim[2]
    param = caffe_pb2.TransformationParameter(crop_size=crop, scale=1 / 256, mean_value=[120])
    transform = Transform(param, (1, 48, 48))
    blobs = drawn(net)
    images = np.random.default_rng(3).integers(0, 256, (2, 1, 48, 48)).astype(np.uint8)
    expected = by_torch(net, blobs, transform.views(images)[0])
    model = to_onnx(net, blobs, transform).SerializeToString()
    np.testing.assert_allclose(by_opencv(model, images.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *UNCOVERED,
        ('type: "Eltwise" bottom: "data" bottom: "data" eltwise_param { operation: PROD }', "more than two"),
    ],
)
def test_what_is_not_covered_is_refused(text: str, words: str) -> None:
    layer = f'{INPUT} layer {{ name: "odd" bottom: "data" top: "odd" {text} }}'
    net = text_format.Parse(layer, caffe_pb2.NetParameter())
    with pytest.raises(FerError, match=f"layer 'odd': ONNX has no .*{words}"):
        to_onnx(net, drawn(net), plain((2, 11, 12)))
