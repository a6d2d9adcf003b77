"""BatchNorm's statistics, measured anew for weights that no training has met, as the mean of snapshots is."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from fer.engines.core.net import teachable
from fer.engines.pytorch.node import Node

_AS_IN_SCORING = ("Dropout", "Pooling")


@contextlib.contextmanager
def measuring(nodes: Sequence[Node]) -> Iterator[None]:
    """From then on passes count alike, with dropout and stochastic pooling as in scoring.

    Raises FerError at the end where what was measured is not finite.
    """
    norms = teachable(nodes)
    with torch.no_grad():
        for norm in norms:
            norm.fraction = 1.0
            for blob in norm.blobs:
                blob.zero_()
    for node in nodes:
        if node.type in _AS_IN_SCORING:
            node.layer.context = replace(node.layer.context, phase="TEST")
    yield
    for norm in norms:
        if not all(blob.isfinite().all() for blob in norm.blobs):
            norm.fail("its statistics are not finite with the mean of these weights")
