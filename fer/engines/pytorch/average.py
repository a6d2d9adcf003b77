"""The mean of several snapshots' weights, with the BatchNorm statistics that belong to it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fer.engines.pytorch.device import computing
from fer.engines.pytorch.layers.data import ImageBatches
from fer.engines.pytorch.layers.normalize import BatchNorm
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.pytorch.weights import copy_weights, write_model
from fer.errors import FerError
from fer.formats.prototxt import read_net

SEED = 0  # of crops and mirrors: the same call gives the same file
AS_IN_SCORING = ("Dropout", "Pooling")


def average(
    model: Path,
    weights: Sequence[str | Path],
    out: Path,
    *,
    iterations: int | None = None,
    stages: tuple[str, ...] = (),
    level: int = 0,
    device: torch.device | None = None,
    precision: str = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the mean of the `weights` files, parameter by parameter; gives the number of batches passed forward.

    BatchNorm's statistics belong to the weights they were measured with, so they are measured anew: `iterations`
    batches of the training data (an epoch if None) go forward, each layer normalising by the batch, as in training.
    All batches count alike: the blobs become the sums of their means and of their unbiased variances (those of
    m / (m - 1), as Caffe has them), and their number. Images are cropped and mirrored as in training, but dropout and
    stochastic pooling do what they do in scoring, since a BatchNorm behind them must know the numbers of scoring.
    Layers with use_global_stats, whose statistics training does not touch, and nets without BatchNorm need no pass.
    Raises FerError for weights that are not whole or are another net's, and for data that cannot be read.
    """
    device = device or torch.device("cpu")
    net = Net(
        read_net(model), Context("TRAIN", device, seeds=Seeds(SEED, device)), stages=stages, level=level, path=model
    )
    with torch.no_grad():
        _set_mean(net, weights)
        layers = [node.layer for node in net.nodes]
        norms = [layer for layer in layers if isinstance(layer, BatchNorm) and not layer.uses_stored]
        batches = _batches(net, iterations) if norms else 0
        for norm in norms:
            norm.fraction = 1.0
            for blob in norm.blobs:
                blob.zero_()
        for layer in layers:
            if layer.param.type in AS_IN_SCORING:
                layer.context = replace(layer.context, phase="TEST")
        net.run_lean()
        for done in range(batches):
            with computing(precision, device):
                net.forward()
            if progress:
                progress(done + 1, batches)
    for norm in norms:
        if not all(blob.isfinite().all() for blob in norm.blobs):
            norm.fail("its statistics are not finite with the mean of these weights")
    write_model(out, net)
    return batches


def _set_mean(net: Net, weights: Sequence[str | Path]) -> None:
    """Give every parameter the mean over the files, summed in double precision."""
    sums = [torch.zeros_like(learned.parameter, dtype=torch.float64) for learned in net.learnable]
    for path in weights:
        copy_weights(net, path, complete=True)
        for total, learned in zip(sums, net.learnable, strict=True):
            total += learned.parameter
    for total, learned in zip(sums, net.learnable, strict=True):
        learned.parameter.copy_(total / len(weights))


def _batches(net: Net, iterations: int | None) -> int:
    """`iterations`, or those that show each image of the training data once."""
    if iterations is not None and iterations < 1:
        raise FerError(f"--iterations is {iterations}; it must be 1 or more")
    epochs = [
        math.ceil(len(layer.images) / layer.batch_size())
        for _, layer in net.stateful()
        if isinstance(layer, ImageBatches)
    ]
    if iterations is None and not epochs:
        raise FerError("the net has no Data or ImageData layer to tell an epoch's length: give --iterations")
    return iterations or max(epochs)
