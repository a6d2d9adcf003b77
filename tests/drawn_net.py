"""A net for use with drawn parameters, and what Caffe's rules on PyTorch make of it."""

import numpy as np
import torch
from google.protobuf import text_format

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context
from fer.nets.shapes import infer_shapes
from fer.schema import caffe_pb2

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 11 dim: 12 } } }'
CASES = {
    "convolution": 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }',
    "convolution, all its numbers": 'type: "Convolution" convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2'
    " pad_h: 2 pad_w: 1 stride_h: 1 stride_w: 2 dilation: 2 group: 2 bias_term: false }",
    "inner product": 'type: "InnerProduct" inner_product_param { num_output: 5 }',
    "inner product, transposed": 'type: "InnerProduct" inner_product_param { num_output: 5'
    " transpose: true bias_term: false }",
    "max": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 2 stride: 2 }',
    "max, hanging over": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 3 stride: 2 }',
    "max, floor": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR }',
    "max, padded": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }',
    "max, a window that would begin outside": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 2'
    " stride: 3 pad: 1 }",
    "max, with gaps": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 4 stride: 5 }',
    "max, cut": 'type: "Pooling" pooling_param { pool: MAX kernel_size: 9 stride: 4 }',
    "average, cut": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 9 stride: 4 }',
    "average, cut and padded": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 11 stride: 4 pad: 1 }',
    "average": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 }',
    "average, padded": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
    "average, padded with gaps": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 2 stride: 3 pad: 1 }',
    "average of all": 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }',
    "max of all": 'type: "Pooling" pooling_param { pool: MAX global_pooling: true }',
    "lrn": 'type: "LRN" lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }',
    "batch norm": 'type: "BatchNorm" batch_norm_param { eps: 0.01 }',
    "scale": 'type: "Scale" scale_param { bias_term: true }',
    "scale without a bias": 'type: "Scale" scale_param { bias_term: false }',
    "scale of rows": 'type: "Scale" scale_param { axis: 2 bias_term: true }',
    "bias": 'type: "Bias" bias_param { axis: 1 }',
    "relu": 'type: "ReLU" relu_param { negative_slope: 0 }',
    "leaky relu": 'type: "ReLU" relu_param { negative_slope: 0.1 }',
    "prelu": 'type: "PReLU" prelu_param { channel_shared: false }',
    "prelu, shared": 'type: "PReLU" prelu_param { channel_shared: true }',
    "elu": 'type: "ELU" elu_param { alpha: 0.5 }',
    "sigmoid": 'type: "Sigmoid" sigmoid_param {}',
    "tanh": 'type: "TanH" tanh_param {}',
    "abs": 'type: "AbsVal"',
    "dropout": 'type: "Dropout" dropout_param { dropout_ratio: 0.5 }',
    "flatten": 'type: "Flatten" flatten_param {}',
    "softmax": 'type: "Softmax" softmax_param {}',
    "sum": 'type: "Eltwise" bottom: "data" eltwise_param {}',
    "weighted sum": 'type: "Eltwise" bottom: "data" eltwise_param { coeff: 0.5 coeff: -1 }',
    "product": 'type: "Eltwise" bottom: "data" eltwise_param { operation: PROD }',
    "maximum": 'type: "Eltwise" bottom: "data" eltwise_param { operation: MAX }',
    "concat": 'type: "Concat" bottom: "data" concat_param {}',
    "clip": 'type: "Clip" clip_param { min: 0.2 max: 0.7 }',
}

# Layers that neither ONNX nor ncnn is told, and what is said of each.
UNCOVERED = [
    ('type: "MVN"', "MVN layers"),
    ('type: "InnerProduct" inner_product_param { num_output: 2 axis: 2 }', "InnerProduct on axis 2"),
    ('type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 }', "STOCHASTIC"),
    ('type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL }', "LRN within channels"),
    ('type: "BatchNorm" batch_norm_param { use_global_stats: false }', "own statistics"),
    ('type: "Flatten" flatten_param { axis: 2 }', "Flatten of some axes"),
]


def net_of(case: str) -> caffe_pb2.NetParameter:
    """A net of one layer."""
    layers = f'{INPUT} layer {{ name: "x" bottom: "data" top: "x" {CASES[case]} }}'
    return text_format.Parse(layers, caffe_pb2.NetParameter())


def drawn(net: caffe_pb2.NetParameter) -> dict[str, list[np.ndarray]]:
    """Parameters for every layer: positive, so that they may be variances, and small enough for what has many."""
    draw = np.random.default_rng(1)
    shapes = infer_shapes(net).params
    return {
        name: [
            np.float32(draw.uniform(0.1, 1, shape) / np.prod([1, *shape[1:]]) ** 0.5).reshape(shape) for shape in each
        ]
        for name, each in shapes.items()
    }


def by_torch(net: caffe_pb2.NetParameter, blobs: dict[str, list[np.ndarray]], inputs: np.ndarray) -> np.ndarray:
    built = Net(net, Context("TEST"))
    with torch.inference_mode():
        for name, values in blobs.items():
            for blob, value in zip(built.params[name], values, strict=True):
                blob.copy_(torch.as_tensor(value))
        built.forward(**{built.inputs[0]: torch.from_numpy(inputs)})
        return built.blobs[net.layer[-1].top[0]].reshape(len(inputs), -1).numpy()
