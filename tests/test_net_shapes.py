"""Shapes and sizes computed from prototxts, against closed cases and the real Caffe."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from fer.formats.prototxt import write_text
from fer.nets.shapes import ShapeError, UnknownShapeError, infer_shapes
from fer.nets.states import State
from fer.schema import caffe_pb2

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 dim: 17 dim: 14 } } }\n'
LAYERS = {  # a layer from data (2 x 6 x 17 x 14) to x
    "convolution": 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 }',
    "convolution strided": 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 5 stride: 2 '
    "pad: 2 group: 2 }",
    "convolution h w": 'type: "Convolution" convolution_param { num_output: 3 kernel_h: 3 kernel_w: 1 stride_h: 2 '
    "stride_w: 3 pad_h: 1 pad_w: 0 bias_term: false }",
    "convolution lists": 'type: "Convolution" convolution_param { num_output: 3 kernel_size: [3, 2] dilation: 2 }',
    "deconvolution": 'type: "Deconvolution" convolution_param { num_output: 4 kernel_size: 4 stride: 2 '
    "pad: 1 group: 2 }",
    "pooling": 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }',
    "pooling padded": 'type: "Pooling" pooling_param { kernel_size: 3 stride: 3 pad: 1 pool: AVE }',
    "pooling clipped": 'type: "Pooling" pooling_param { kernel_h: 2 kernel_w: 3 stride_h: 4 stride_w: 2 '
    "pad_h: 1 pad_w: 1 }",
    "pooling cut": 'type: "Pooling" pooling_param { kernel_size: 18 stride: 5 }',
    "pooling cut, padded": 'type: "Pooling" pooling_param { kernel_h: 19 kernel_w: 3 stride: 4 pad_h: 1 pad_w: 0 }',
    "pooling floor": 'type: "Pooling" pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }',
    "pooling global": 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }',
    "inner product": 'type: "InnerProduct" inner_product_param { num_output: 5 }',
    "inner product transposed": 'type: "InnerProduct" inner_product_param { num_output: 5 axis: -1 transpose: true }',
    "batch norm": 'type: "BatchNorm"',
    "scale": 'type: "Scale" scale_param { bias_term: true }',
    "scale axes": 'type: "Scale" scale_param { axis: 2 num_axes: -1 }',
    "bias": 'type: "Bias" bias_param { axis: 0 num_axes: 2 }',
    "prelu": 'type: "PReLU"',
    "prelu shared": 'type: "PReLU" prelu_param { channel_shared: true }',
    "flatten": 'type: "Flatten" flatten_param { axis: 1 end_axis: 2 }',
    "concat": 'type: "Concat" bottom: "data" concat_param { axis: 2 }',
    "concat old": 'type: "Concat" bottom: "data" concat_param { concat_dim: 0 }',
    "eltwise": 'type: "Eltwise" bottom: "data"',
    "lrn": 'type: "LRN"',
    "softmax": 'type: "Softmax"',
}


def net_of(layer: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(f'{INPUT}layer {{ name: "x" bottom: "data" top: "x" {layer} }}', caffe_pb2.NetParameter())


@pytest.mark.full
def test_shapes_are_the_real_caffes(tmp_path: Path) -> None:
    """All kinds in one net, each on its own input, so that Caffe is started once."""
    from fer.engines.registry import find_engine

    both = caffe_pb2.NetParameter()
    for name, text in LAYERS.items():
        for layer in net_of(text).layer:
            for ends in (layer.bottom, layer.top):
                ends[:] = [f"{name}/{end}" for end in ends]
            layer.name = f"{name}/{layer.name}"
            both.layer.append(layer)
    write_text(tmp_path / "net.prototxt", both)
    theirs = find_engine("caffe").describe(tmp_path / "net.prototxt", State("TEST"))
    ours = infer_shapes(both)
    assert {name: [tuple(shape) for shape in shapes] for name, shapes in theirs["params"].items()} == ours.params
    blobs = {name: tuple(shape) for name, shape in theirs["blobs"].items() if "_split_" not in name}
    assert blobs == ours.blobs


def test_multiply_adds() -> None:
    shapes = infer_shapes(net_of(LAYERS["convolution strided"]))
    assert shapes.blobs["x"] == (2, 4, 9, 7)
    assert shapes.multiply_adds["x"] == 2 * 4 * 9 * 7 * 3 * 5 * 5
    assert shapes.param_count == 4 * 3 * 5 * 5 + 4
    assert infer_shapes(net_of(LAYERS["inner product"])).multiply_adds["x"] == 2 * 5 * 6 * 17 * 14


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2), st.booleans())
def test_pooling_covers_each_pixel_it_can(size: int, kernel: int, stride: int, pad: int, floor: bool) -> None:
    """Rounded up, every pixel that the stride reaches lies in a window, and each window begins inside the image."""
    pad = min(pad, kernel - 1)
    net = net_of(f'type: "Pooling" pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} '
                 f"round_mode: {'FLOOR' if floor else 'CEIL'} }}")  # fmt: skip
    net.layer[0].input_param.shape[0].dim[:] = [1, 1, size, size]
    room = size + 2 * pad - kernel
    if room < 0 if floor else room <= -stride:  # rounded up, a window larger than the image is cut at its edge
        with pytest.raises(ShapeError):
            infer_shapes(net)
        return
    count = infer_shapes(net).blobs["x"][2]
    last = (count - 1) * stride - pad  # where the last window begins
    if pad or kernel >= stride:
        assert last < size
    if floor:
        assert last + kernel <= size + pad
    elif kernel >= stride:
        assert last + kernel >= size


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 19 }', "19x19 does not fit .* 17x14"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 group: 5 }', "into 5 groups"),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: [1, 2, 3] }', "3 values for two"),
        ('type: "Convolution" convolution_param { num_output: 4 }', "must be 1 or more"),
        ('type: "Pooling" pooling_param { kernel_size: 15 }', "15x15 does not fit"),
        ('type: "Pooling" pooling_param { kernel_size: 2 stride: 0 }', "must be 1 or more"),
        ('type: "InnerProduct" inner_product_param { num_output: 5 axis: 4 }', "axis 4 is outside"),
        ('type: "InnerProduct"', "num_output must be"),
        ('type: "Eltwise" bottom: "nothing"', "nothing makes its bottom 'nothing'"),
    ],
)
def test_what_does_not_fit_is_named(layer: str, reason: str) -> None:
    with pytest.raises(ShapeError, match=rf"layer 'x'.*{reason}") as caught:
        infer_shapes(net_of(layer))
    assert caught.value.position == 1


def test_differing_bottoms_and_flat_images() -> None:
    net = net_of('type: "Flatten"')
    with pytest.raises(ShapeError, match="differ in shape"):
        infer_shapes(text_format.Parse('layer { type: "Eltwise" bottom: "data" bottom: "x" top: "y" }', net))
    with pytest.raises(ShapeError, match="needs images"):
        net = net_of('type: "Flatten"')
        infer_shapes(text_format.Parse('layer { type: "Pooling" bottom: "x" pooling_param { kernel_size: 1 } }', net))


def test_what_is_not_covered_is_said_not_guessed() -> None:
    with pytest.raises(UnknownShapeError, match="Python"):
        infer_shapes(net_of('type: "Python"'))
    with pytest.raises(UnknownShapeError, match="HDF5Data"):
        infer_shapes(text_format.Parse('layer { name: "d" type: "HDF5Data" top: "d" }', caffe_pb2.NetParameter()))
    with pytest.raises(UnknownShapeError, match="images is not known"):
        infer_shapes(text_format.Parse('layer { name: "d" type: "Data" top: "d" }', caffe_pb2.NetParameter()))
    with pytest.raises(ShapeError, match="no bottom"):
        infer_shapes(text_format.Parse('layer { name: "r" type: "ReLU" top: "d" }', caffe_pb2.NetParameter()))
