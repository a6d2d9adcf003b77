"""`test` and `time`: what `caffe test` and `caffe time` do, with their lines."""

import time
from pathlib import Path

import torch
from torch import Tensor

from fer.engines.pytorch.device import computing
from fer.engines.pytorch.log import Log
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.node import Node
from fer.engines.pytorch.registry import Context
from fer.engines.pytorch.weights import copy_weights
from fer.errors import FerError
from fer.formats.prototxt import read_net


def test(
    model: Path,
    weights: str,
    iterations: int,
    *,
    stages: tuple[str, ...] = (),
    level: int = 0,
    device: torch.device | None = None,
    precision: str = "fp32",
    log: Log | None = None,
) -> dict[str, float]:
    """Log each batch's outputs and their means over `iterations` batches of the TEST net; gives the means by name."""
    device, log = device or torch.device("cpu"), log or Log()
    _check_count(iterations)
    net = Net(read_net(model), Context("TEST", device), stages=stages, level=level, path=model)
    for path in weights.split(","):
        copy_weights(net, path, complete=True)
    log.info(f"Running for {iterations} iterations.", "caffe.cpp:281")
    net.run_lean()
    total: list[Tensor] = []
    loss = 0.0
    for batch in range(iterations):
        with torch.no_grad(), computing(precision, device):
            loss += net.forward().item()
        outputs = [value.float().cpu() for value in net.output_values()]
        total = [a + b for a, b in zip(total, outputs, strict=True)] if total else outputs
        for (name, _), values in zip(net.outputs, outputs, strict=True):
            for value in values.reshape(-1).tolist():
                log.info(f"Batch {batch}, {name} = {value:.6g}", "caffe.cpp:304")
    log.info(f"Loss: {loss / iterations:.6g}", "caffe.cpp:309")
    means: dict[str, float] = {}
    for (name, weight), values in zip(net.outputs, total, strict=True):
        for value in (values / iterations).reshape(-1).tolist():
            tail = f" (* {weight:.6g} = {weight * value:.6g} loss)" if weight else ""
            log.info(f"{name} = {value:.6g}{tail}", "caffe.cpp:321")
            means.setdefault(name, value)
    return means


def benchmark(
    model: Path,
    iterations: int,
    *,
    phase: str = "TRAIN",
    stages: tuple[str, ...] = (),
    level: int = 0,
    device: torch.device | None = None,
    precision: str = "fp32",
    log: Log | None = None,
) -> None:
    """Log the mean milliseconds of each layer's forward and backward pass, and of the whole net's."""
    device, log = device or torch.device("cpu"), log or Log()
    _check_count(iterations)
    net = Net(read_net(model), Context(phase, device), stages=stages, level=level, path=model)
    for learned in net.learnable:
        learned.parameter.requires_grad_(learned.lr_mult > 0)
    log.info("Performing Forward", "caffe.cpp:356")
    with computing(precision, device):
        loss = net.forward()
    log.info(f"Initial loss: {loss.item():.6g}", "caffe.cpp:361")
    log.info("Performing Backward", "caffe.cpp:362")
    if loss.requires_grad:
        loss.backward()
    log.info("*** Benchmark begins ***", "caffe.cpp:369")
    log.info(f"Testing for {iterations} iterations.", "caffe.cpp:370")
    forward = dict.fromkeys((node.name for node in net.nodes), 0.0)
    backward = dict(forward)
    begin = _now(device)
    for number in range(iterations):
        start = _now(device)
        with computing(precision, device):
            _time_layers(net, forward, backward)
        log.info(f"Iteration: {number + 1} forward-backward time: {_now(device) - start:.6g} ms.", "caffe.cpp:398")
    total = _now(device) - begin
    log.info("Average time per layer: ", "caffe.cpp:401")
    for name in forward:
        log.info(f"{name:>10}\tforward: {forward[name] / iterations:.6g} ms.", "caffe.cpp:404")
        log.info(f"{name:>10}\tbackward: {backward[name] / iterations:.6g} ms.", "caffe.cpp:407")
    log.info(f"Average Forward pass: {sum(forward.values()) / iterations:.6g} ms.", "caffe.cpp:412")
    log.info(f"Average Backward pass: {sum(backward.values()) / iterations:.6g} ms.", "caffe.cpp:414")
    log.info(f"Average Forward-Backward: {total / iterations:.6g} ms.", "caffe.cpp:416")
    log.info(f"Total Time: {total:.6g} ms.", "caffe.cpp:418")
    log.info("*** Benchmark ends ***", "caffe.cpp:419")


def _time_layers(net: Net, forward: dict[str, float], backward: dict[str, float]) -> None:
    """One pass layer by layer, each differentiated by itself between detached blobs."""
    blobs: dict[str, Tensor] = {}
    passes: list[tuple[Node, list[Tensor], list[Tensor]]] = []
    for node in net.nodes:
        bottoms = [blobs[name].detach() for name in node.bottoms]
        for bottom, name in zip(bottoms, node.bottoms, strict=True):
            bottom.requires_grad_(blobs[name].requires_grad)
        local = dict(zip(node.bottoms, bottoms, strict=True))
        start = _now(net.context.device)
        net.run([node], local)
        forward[node.name] += _now(net.context.device) - start
        tops = [local[name] for name in node.tops]
        blobs.update(zip(node.tops, tops, strict=True))
        passes.append((node, bottoms, tops))
    for node, bottoms, tops in reversed(passes):
        wanted = [t for t in (*bottoms, *node.layer.blobs) if t.requires_grad]
        ends = [top for top in tops if top.requires_grad]
        if wanted and ends:
            seeds = [torch.ones_like(top) for top in ends]
            start = _now(net.context.device)
            torch.autograd.grad(ends, wanted, seeds, allow_unused=True)
            backward[node.name] += _now(net.context.device) - start


def _now(device: torch.device) -> float:
    """Milliseconds, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() * 1000


def _check_count(iterations: int) -> None:
    if iterations < 1:
        raise FerError(f"--iterations is {iterations}; it must be 1 or more")
