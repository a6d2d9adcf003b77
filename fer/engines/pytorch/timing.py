"""How long each layer of a net takes."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fer.engines.pytorch.device import computing
from fer.engines.pytorch.node import Node
from fer.engines.pytorch.registry import Context

Run = Callable[[list[Node], dict[str, Tensor]], Tensor | None]


def time_pass(
    nodes: Sequence[Node], run: Run, context: Context, forward: dict[str, float], backward: dict[str, float]
) -> None:
    """One pass layer by layer, each differentiated by itself between detached blobs; adds milliseconds by name."""
    blobs: dict[str, Tensor] = {}
    passes: list[tuple[Node, list[Tensor], list[Tensor]]] = []
    with computing(context.precision, context.device):
        for node in nodes:
            bottoms = [blobs[name].detach() for name in node.bottoms]
            for bottom, name in zip(bottoms, node.bottoms, strict=True):
                bottom.requires_grad_(blobs[name].requires_grad)
            local = dict(zip(node.bottoms, bottoms, strict=True))
            start = _now(context.device)
            run([node], local)
            forward[node.name] += _now(context.device) - start
            tops = [local[name] for name in node.tops]
            blobs.update(zip(node.tops, tops, strict=True))
            passes.append((node, bottoms, tops))
        for node, bottoms, tops in reversed(passes):
            wanted = [t for t in (*bottoms, *node.layer.blobs) if t.requires_grad]
            ends = [top for top in tops if top.requires_grad]
            if wanted and ends:
                seeds = [torch.ones_like(top) for top in ends]
                start = _now(context.device)
                torch.autograd.grad(ends, wanted, seeds, allow_unused=True)
                backward[node.name] += _now(context.device) - start


def _now(device: torch.device) -> float:
    """Milliseconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() * 1000
