"""CUDA graphs on the CPU: `torch.cuda` as the engine's step uses it, with a graph that replays by computing anew.

A real graph writes into the memory it was captured with; so does this one. And nothing happens while it is captured.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from solver_cases import torch_training
from torch import Tensor

from fer.engines.core.solver import Solver
from fer.engines.pytorch import step
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.step import Step


class InOrder:
    """A stream that is in order with every other."""

    def __init__(self, *_device: Any) -> None:
        pass

    def wait_stream(self, other: "InOrder") -> None:
        pass


class Graph:
    """What was captured: the pass of a Step, whose loss, outputs and gradients keep their places."""

    def __init__(self, of: Step, cuda: "Cuda") -> None:
        self.step, self.cuda = of, cuda

    def register_generator_state(self, generator: Any) -> None:
        generator.registered = True

    def replay(self) -> None:
        of = self.step
        held = [parameter.grad for parameter in of.trained]
        takes_over = of.ranks.alone and not of._adds_up
        if takes_over:
            for parameter in of.trained:
                parameter.grad = None
        blobs = dict(of._static)
        with computing(of.precision, of.device):
            loss = of.net.run(of._rest, blobs)
        assert loss is not None and of._loss is not None
        loss.backward()
        for parameter, place in zip(of.trained, held, strict=True):
            if takes_over and place is not None:
                assert parameter.grad is not None
                place.copy_(parameter.grad)
                parameter.grad = place
            assert parameter.grad is place
        of._loss.copy_(loss.detach())
        for name, _ in of.net.outputs:
            of.net.blobs[name].detach().copy_(blobs[name].detach())


class Cuda:
    """`torch.cuda`, of one device."""

    Stream = InOrder

    def __init__(self, of: Step) -> None:
        self.of = of
        self.now = InOrder()
        self.captures = 0

    def CUDAGraph(self) -> Graph:  # noqa: N802  # as torch calls it
        return Graph(self.of, self)

    @contextlib.contextmanager
    def graph(self, graph: Graph) -> Iterator[None]:
        """Run the block and undo all that it did but for the new tensors."""
        seeds, nodes = self.of.net.context.seeds, self.of.net.nodes
        generators = seeds.state()
        blobs = [(blob, blob.detach().clone()) for node in nodes for blob in node.layer.blobs]
        gradients = [None if p.grad is None else p.grad.clone() for p in self.of.trained]
        yield
        self.captures += 1
        seeds.load_state(generators)
        with torch.no_grad():
            for blob, value in blobs:
                blob.copy_(value)
            for parameter, gradient in zip(self.of.trained, gradients, strict=True):
                if gradient is not None:
                    assert parameter.grad is not None
                    parameter.grad.copy_(gradient)

    @contextlib.contextmanager
    def stream(self, stream: InOrder) -> Iterator[None]:
        before, self.now = self.now, stream
        yield
        self.now = before

    def current_stream(self, _device: torch.device) -> InOrder:
        return self.now

    def set_stream(self, stream: InOrder) -> None:
        self.now = stream

    def synchronize(self, _device: torch.device) -> None:
        pass


class FailedCuda(Cuda):
    """Its captures fail as CUDA's do: the end raises again, the stream and the generators stay the capture's."""

    @contextlib.contextmanager
    def graph(self, graph: Graph) -> Iterator[None]:
        self.now = InOrder()
        for generator in self.of.net.context.seeds.generators():
            if isinstance(generator, MarkedGenerator):
                generator.capturing = True
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


class MarkedGenerator(SimpleNamespace):
    """A CUDA generator, which draws nothing outside of a graph while it is marked as capturing."""

    device = torch.device("cuda", 0)
    capturing = False
    value: Tensor

    def get_state(self) -> Tensor:
        return self.value.clone()

    def set_state(self, state: Tensor) -> None:
        self.value = state.clone()

    def clone_state(self) -> "MarkedGenerator":
        return MarkedGenerator(value=self.value.clone())

    def graphsafe_set_state(self, other: "MarkedGenerator") -> None:
        self.value, self.capturing = other.value, other.capturing


def use_graphs(solver: Solver, monkeypatch: pytest.MonkeyPatch, kind: type[Cuda] = Cuda) -> Cuda:
    """Let the solver's passes be replayed from a graph of the `kind`."""
    cuda = kind(torch_training(solver).step)
    torch_training(solver).step._may_capture = not any(node.bottoms for node in torch_training(solver).step._host)
    monkeypatch.setattr(torch_training(solver).step, "_side", InOrder())

    class Torch:
        def __getattr__(self, name: str) -> Any:
            return cuda if name == "cuda" else getattr(torch, name)

    monkeypatch.setattr(step, "torch", Torch())
    return cuda
