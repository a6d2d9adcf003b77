"""A layer in a net."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fer.engines.core import node
from fer.engines.pytorch.registry import Layer


@dataclass
class Node(node.Node):
    """A layer in its place, or several that run as one."""

    layer: Layer
    fused: Callable[..., tuple[Tensor, ...]] | None = None
    """The forward pass, where it is that of several layers."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops."""
        return (self.fused or self.layer.forward)(*bottoms)
