"""Training in bf16 on the CPU: products in bf16, parameters and the loss in fp32, and it learns as fp32 does."""

from pathlib import Path

import numpy as np
import torch
from solver_cases import torch_net, write_solver
from torch import Tensor

from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.pytorch.backend import Backend
from fer.engines.pytorch.net import Net
from fer.formats.prototxt import read_solver

# Layers that autocast rounds, layers that it leaves, and those that run as one.
NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "SOURCE" backend: LMDB batch_size: 11 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "norm" type: "LRN" bottom: "conv" top: "norm" lrn_param { local_size: 3 alpha: 0.1 } }
layer { name: "conv2" type: "Convolution" bottom: "norm" top: "conv2"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 group: 2 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv2" top: "conv2" }
layer { name: "scale" type: "Scale" bottom: "conv2" top: "conv2" scale_param { bias_term: true } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool" type: "Pooling" bottom: "conv2" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
EPOCH = 3  # iterations in which the 33 images pass


def train(folder: Path, precision: str) -> tuple[np.ndarray, Net]:
    """The losses of 60 iterations, and the net then."""
    path = write_solver(folder, precision, base_lr=0.02, snapshot=0)
    (folder / f"{precision}_net.prototxt").write_text(NET.replace("SOURCE", str(folder / "lmdb")))
    solver = Solver(read_solver(path), path, Backend(precision=precision), Log(silent=True))
    losses = []
    for _ in range(20 * EPOCH):
        solver.step(1)
        losses.append(torch_net(solver.net).blobs["loss"].item())
    return np.array(losses), torch_net(solver.net)


def is_bf16(values: Tensor) -> Tensor:
    return values == values.bfloat16().to(values.dtype)


def test_bf16_learns_as_fp32_does(tmp_path: Path) -> None:
    single, _ = train(tmp_path, "fp32")
    half, _ = train(tmp_path, "bf16")
    # bf16 keeps 8 bits: one pass is off by some thousandths, and what is learnt from it hardly more.
    assert 0 < abs(half[0] / single[0] - 1) < 0.01
    single, half = (losses.reshape(-1, EPOCH).mean(axis=1) for losses in (single, half))
    assert single[-1] < 0.01 * single[0]
    np.testing.assert_allclose(half, single, rtol=0.1)


def test_parameters_and_the_loss_stay_fp32(tmp_path: Path) -> None:
    losses, net = train(tmp_path, "bf16")
    assert is_bf16(torch.tensor(losses)).float().mean() < 0.1
    for blobs in net.params.values():
        for blob in blobs:
            assert blob.dtype == torch.float32
            if blob.numel() > 1:  # all but for BatchNorm's count of passes
                assert is_bf16(blob).float().mean() < 0.1
