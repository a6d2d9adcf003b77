"""How long each layer of a net takes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from fer.engines.core.framework import Shape
from fer.engines.core.node import Node
from fer.engines.tensorflow.context import Seeds
from fer.engines.tensorflow.layer import Tensor
from fer.engines.tensorflow.wired import Wired
from fer.engines.tensorflow.wiring import Wiring


class Timed:
    """A node by itself: a forward pass, and one forward and backward."""

    def __init__(self, node: Node, shapes: Mapping[str, Shape], wiring: Wiring):
        self.node = node
        self.wired = Wired([node], shapes, wiring, node.tops)
        self.forward = tf.function(self._forward)
        self.both = tf.function(self._both)

    def _forward(self, fed: Any, seeds: Tensor, bottoms: list[Tensor]) -> list[Tensor]:
        blobs = self.wired.compute(fed, seeds, dict(zip(self.node.bottoms, bottoms, strict=True)))
        return [blobs[name] for name in self.node.tops]

    def _both(self, fed: Any, seeds: Tensor, bottoms: list[Tensor]) -> list[Tensor]:
        learnt = [blob.variable for blob in self.node.layer.blobs] if self.node.layer.learns else []
        with tf.GradientTape() as tape:
            tape.watch([*bottoms, *learnt])
            tops = self._forward(fed, seeds, bottoms)
            total = tf.add_n([tf.reduce_sum(tf.cast(top, tf.float32)) for top in tops])
        return [gradient for gradient in tape.gradient(total, [*bottoms, *learnt]) if gradient is not None]


def time_pass(timed: Sequence[Timed], seeds: Seeds, forward: dict[str, float], backward: dict[str, float]) -> None:
    """One pass layer by layer; adds milliseconds by name: backward, what both take beyond forward alone."""
    blobs: dict[str, Tensor] = {}
    for one in timed:
        node = one.node
        if not node.tops:
            continue
        bottoms = [blobs[name] for name in node.bottoms]
        fed = [layer.feed() for layer in one.wired.sources]
        drawn = one.wired.seeds(seeds)
        start = time.perf_counter()
        tops = one.forward(fed, drawn, bottoms)
        alone = 1000 * (time.perf_counter() - start)
        forward[node.name] += alone
        if node.bottoms:
            start = time.perf_counter()
            one.both(fed, drawn, bottoms)
            backward[node.name] += max(1000 * (time.perf_counter() - start) - alone, 0)
        blobs.update(zip(node.tops, tops, strict=True))
