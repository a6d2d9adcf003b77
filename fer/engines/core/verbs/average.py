"""`average`: the mean of several snapshots' weights, with the BatchNorm statistics that belong to it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fer.engines.core.framework import Backend, Net
from fer.engines.core.weights import copy_weights, write_model
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State

SEED = 0  # of crops and mirrors: the same call gives the same file


def average(
    backend: Backend,
    model: Path,
    weights: Sequence[str | Path],
    out: Path,
    *,
    state: State,
    iterations: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the mean of the `weights` files, parameter by parameter. Returns the number of batches passed forward.

    BatchNorm's statistics belong to the weights they were measured with, so they are measured anew: `iterations`
    batches of the training data (an epoch if None) go forward, each layer normalising by the batch, as in training.
    All batches count alike: the blobs become the sums of their means and of their unbiased variances (those of
    m / (m - 1), as Caffe has them), and their number. Images are cropped and mirrored as in training, but dropout and
    stochastic pooling do what they do in scoring, since a BatchNorm behind them must know the numbers of scoring.
    Layers with use_global_stats, whose statistics training does not touch, and nets without BatchNorm need no pass.
    Raises FerError for weights that are not whole or are another net's, and for data that cannot be read.
    """
    net = backend.net(read_net(model), state, path=model, seed=SEED)
    _set_mean(net, weights)
    batches = _batches(net, iterations) if net.measures_statistics() else 0
    if batches:
        net.measure_statistics(batches, progress)
    write_model(out, net)
    return batches


def _set_mean(net: Net, weights: Sequence[str | Path]) -> None:
    """Give every parameter the mean over the files, summed in double precision."""
    sums = [np.zeros(learned.shape) for learned in net.learnable]
    for path in weights:
        copy_weights(net, path, complete=True)
        for total, learned in zip(sums, net.learnable, strict=True):
            total += net.blob(learned.owner, learned.index)
    for total, learned in zip(sums, net.learnable, strict=True):
        net.set_blob(learned.owner, learned.index, (total / len(weights)).astype(np.float32))


def _batches(net: Net, iterations: int | None) -> int:
    """`iterations`, or those that show each image of the training data once."""
    if iterations is not None and iterations < 1:
        raise FerError(f"--iterations is {iterations}; it must be 1 or more")
    epoch = net.epoch()
    if iterations is None and epoch is None:
        raise FerError("the net has no Data or ImageData layer to tell an epoch's length: give --iterations")
    return iterations or epoch or 0
