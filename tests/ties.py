"""Ties: choices of a ReLU or a MAX pooling that nothing but rounding decides.

A ReLU lets the gradient through where its sum is positive, and pooling hands it to the largest number of a window.
Where a sum is almost 0, or two numbers are almost the largest, the order of a sum's terms decides: the loss is the
same, the gradient finitely another. So of two engines that are both right one may make another update, now and then.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fer.engines.pytorch.layers.pooling import Pooling
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.node import Node
from fer.schema import caffe_pb2

ROUNDINGS = 64
"""How far apart the engines' numbers may lie where they choose differently, in 2^-24 of the blob's largest number.

About the root of 3,456, the products in the longest sum of these nets (AlexNet's conv4). Up to 10 were seen.
"""


@dataclass(frozen=True)
class Tie:
    """A layer that chose differently in one pass: how many numbers, and how far apart at most (see ROUNDINGS)."""

    layer: str
    numbers: int
    roundings: float


def choose_as_caffe(net: Net, blobs: dict[str, Tensor]) -> list[Tie]:
    """Makes the net's further passes choose as Caffe did, whose blobs after its pass are in `blobs`.

    Where a ReLU or a MAX pooling would choose otherwise, it gets Caffe's numbers for its own, and only there; gradients
    flow as they would. The list that is given back grows with each layer that had to be told. Layers run unfused.
    """
    ties: list[Tie] = []
    net.schedule = net.nodes
    for node in net.nodes:
        if node.type == "ReLU":
            node.fused = _told(node, blobs[node.tops[0]], _other_sign, ties)
        elif node.type == "Pooling" and node.layer.param.pooling_param.pool == caffe_pb2.PoolingParameter.MAX:
            node.fused = _told(node, blobs[node.bottoms[0]], _other_largest, ties)
    return ties


def _told(
    node: Node, theirs: Tensor, differ: Callable[[Node, Tensor, Tensor], Tensor], ties: list[Tie]
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    def forward(bottom: Tensor) -> tuple[Tensor, ...]:
        gap = (theirs - bottom).detach()
        places = differ(node, bottom.detach(), theirs)
        if places.any():
            roundings = gap[places].abs().max() / theirs.abs().max() * 2**24
            ties.append(Tie(node.name, int(places.sum()), round(roundings.item(), 1)))
        return node.layer.forward(bottom + torch.where(places, gap, 0))

    return forward


def _other_sign(node: Node, ours: Tensor, theirs: Tensor) -> Tensor:
    """Where one is positive and the other is not; theirs, rectified in place, is 0 then."""
    return (ours > 0) != (theirs > 0)


def _other_largest(node: Node, ours: Tensor, theirs: Tensor) -> Tensor:
    """The largest number of either engine, in windows where the two lie in different places."""
    assert isinstance(node.layer, Pooling)
    (_, mine), (_, caffes) = (node.layer.pool.maximum_with_mask(blob) for blob in (ours, theirs))
    windows = mine != caffes
    images, channels = windows.nonzero(as_tuple=True)[:2]
    places = torch.zeros(ours.shape, dtype=torch.bool).flatten(2)
    for mask in (mine, caffes):
        places[images, channels, mask[windows].long()] = True
    return places.view(ours.shape)
