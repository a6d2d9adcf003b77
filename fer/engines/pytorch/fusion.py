"""Neighbouring layers run as one where the blob between them is nobody else's: less memory is read and written."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from fer.engines.pytorch.layers.normalize import BatchNorm
from fer.engines.pytorch.node import Node
from fer.schema import caffe_pb2

Forward = Callable[..., tuple[Tensor, ...]]

# Their backward passes do not need their tops, which may be overwritten.
_SPARE_THEIR_TOP = ("Convolution", "Deconvolution", "InnerProduct", "BatchNorm", "BatchNorm+Scale", "Scale")


def fuse(nodes: list[Node]) -> list[Node]:
    """The same net in fewer nodes. The pooling behind a ReLU goes first: the ReLU then has less to do."""
    for rule in (_pool_before_relu, _normalize_and_scale, _rectify_in_place):
        nodes = _fuse_pairs(nodes, rule)
    return nodes


def _pool_before_relu(first: Node, second: Node) -> Forward | None:
    """The largest of rectified numbers is the largest, rectified; and the gradient of either is the other's."""
    pool = second.layer.param.pooling_param
    if first.type != "ReLU" or second.type != "Pooling" or pool.pool != caffe_pb2.PoolingParameter.MAX:
        return None
    slope = first.layer.param.relu_param.negative_slope
    if slope < 0 or len(second.tops) > 1:
        return None
    return lambda bottom: (_rectify(second.forward(bottom)[0], slope),)


def _normalize_and_scale(first: Node, second: Node) -> Forward | None:
    """BatchNorm with Scale's factor and term: one kernel on the device instead of two."""
    normalize, scale = first.layer, second.layer
    by_channel = scale.param.scale_param.axis == 1 and scale.param.scale_param.num_axes == 1
    if not isinstance(normalize, BatchNorm) or second.type != "Scale" or not by_channel:
        return None
    return lambda bottom: (normalize.apply(bottom, *scale.blobs),)


def _rectify_in_place(first: Node, second: Node) -> Forward | None:
    slope = second.layer.param.relu_param.negative_slope
    if first.type not in _SPARE_THEIR_TOP or second.type != "ReLU" or slope < 0:
        return None
    return lambda *bottoms: (_rectify(first.forward(*bottoms)[0], slope),)


def _rectify(x: Tensor, slope: float) -> Tensor:
    return F.leaky_relu_(x, slope) if slope else F.relu_(x)


def _fuse_pairs(nodes: list[Node], rule: Callable[[Node, Node], Forward | None]) -> list[Node]:
    """Every node put together with the only reader of its only top, where `rule` gives a forward pass for both."""
    fused: list[Node] = []
    absorbed: set[int] = set()
    for i, first in enumerate(nodes):
        if i in absorbed:
            continue
        j = _only_reader(nodes, i)
        forward = rule(first, nodes[j]) if j is not None else None
        if j is None or forward is None:
            fused.append(first)
            continue
        second = nodes[j]
        absorbed.add(j)
        last_use = first.last_use + [name for name in second.last_use if name != first.tops[0]]
        fused.append(
            replace(
                first,
                type=f"{first.type}+{second.type}",
                tops=second.tops,
                loss_weights=second.loss_weights,
                last_use=last_use,
                fused=forward,
            )
        )
    return fused


def _only_reader(nodes: list[Node], i: int) -> int | None:
    """Where the node stands that alone reads the only top of node i, and nothing else; None if there is none such."""
    first = nodes[i]
    if len(first.tops) != 1:
        return None
    top = first.tops[0]
    for j in range(i + 1, len(nodes)):
        if top in nodes[j].bottoms:  # its only reader: a Split stands where there are several, or a loss weight
            return j if nodes[j].bottoms == [top] and not any(nodes[j].cut) else None
    return None
