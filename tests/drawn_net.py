"""A net for use with drawn parameters, and what Caffe's rules on PyTorch make of it."""

import numpy as np
import torch

from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context
from fer.nets.shapes import infer_shapes
from fer.schema import caffe_pb2


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
