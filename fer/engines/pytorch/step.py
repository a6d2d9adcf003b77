"""One forward and backward pass of a training net; on a GPU replayed as a CUDA graph once it has settled."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fer.engines.core.log import Log
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.distributed import Ranks
from fer.engines.pytorch.net import Net

# Passes before a graph is captured: libraries choose their kernels and generators come to be in them.
_WARM_UP = 3


class Step:
    """Runs passes whose gradients add up in the parameters until `clear`. `graphs`: whether one may be captured."""

    def __init__(
        self,
        net: Net,
        trained: Sequence[Tensor],
        ranks: Ranks,
        passes: int,
        log: Log,
        graphs: bool = True,
    ):
        self.net = net
        self.trained = list(trained)
        self.precision = net.context.precision
        self.ranks = ranks
        self.log = log
        self.device = net.context.device
        self._adds_up = passes > 1
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._static: dict[str, Tensor] = {}
        self._loss: Tensor | None = None
        self._host = [node for node in net.schedule if node.layer.host]
        self._rest = [node for node in net.schedule if not node.layer.host]
        hosts_first = not any(node.bottoms for node in self._host)
        self._may_capture = graphs and self.device.type == "cuda" and hosts_first
        self._side = torch.cuda.Stream(self.device) if self._may_capture else None

    @property
    def captured(self) -> bool:
        """Whether passes are replays of a graph by now."""
        return self._graph is not None

    def clear(self) -> None:
        """Forget the gradients of the passes so far."""
        if not self.ranks.alone:
            self.ranks.clear_gradients()
        elif self._graph is None and not (self._adds_up and self._may_capture):
            # A gradient that is not there yet is taken over from backward as it is, without being added to zeros.
            for parameter in self.trained:
                parameter.grad = None
        elif self._adds_up and (there := [p.grad for p in self.trained if p.grad is not None]):
            torch._foreach_zero_(there)

    def __call__(self) -> Tensor:
        """One pass; the loss, 0-dim on the device and never touched again."""
        if self._may_capture and self._graph is None and self._done == _WARM_UP:
            self._capture()
        self._done += 1
        if self._graph is not None:
            self._feed()
            self._graph.replay()
            assert self._loss is not None  # captured with the graph
            return self._loss.clone()
        if not self._may_capture:
            return self._eager()
        # What a graph is captured of must have run on a stream other than the default one.
        assert self._side is not None  # made with _may_capture
        self._side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._side):
            loss = self._eager()
        torch.cuda.current_stream(self.device).wait_stream(self._side)
        return loss

    def _eager(self) -> Tensor:
        with computing(self.precision, self.device):
            loss = self.net.forward()
        if loss.requires_grad:
            loss.backward()
        return loss.detach()

    def _feed(self) -> None:
        """Run the host's layers and put what they make where the graph reads it."""
        blobs: dict[str, Tensor] = {}
        self.net.run(self._host, blobs)
        for name, value in blobs.items():
            self._static[name].copy_(value)

    def _make_static(self) -> None:
        """Memory for what the host's layers make; the pass that shows its shapes leaves no trace."""
        blobs: dict[str, Tensor] = {}
        states = {node.name: node.layer.state() for node in self._host}
        generators = self.net.context.seeds.state()
        self.net.run(self._host, blobs)
        for node in self._host:
            if states[node.name]:
                node.layer.load_state(states[node.name])
        self.net.context.seeds.load_state(generators)
        self._static = {name: value.clone(memory_format=torch.preserve_format) for name, value in blobs.items()}

    def _record(self) -> Tensor | None:
        """The pass that a graph is captured of."""
        self.net.blobs = dict(self._static)
        with computing(self.precision, self.device):
            loss = self.net.run(self._rest, self.net.blobs)
        if loss is not None and loss.requires_grad:
            loss.backward()
        return loss

    def _capture(self) -> None:
        self._make_static()
        seeds = self.net.context.seeds
        generators, gradients = seeds.state(), [parameter.grad for parameter in self.trained]
        graph = torch.cuda.CUDAGraph()
        for generator in seeds.generators():
            if generator.device.type == "cuda":
                graph.register_generator_state(generator)
        if self.ranks.alone and not self._adds_up:
            for parameter in self.trained:
                parameter.grad = None
        torch.cuda.synchronize(self.device)
        before = torch.cuda.current_stream(self.device)
        loss, reason = None, ""
        try:
            with torch.cuda.graph(graph):
                try:
                    loss = self._record()
                except RuntimeError as error:
                    reason = str(error)  # ending the capture then raises another, which says less
                    raise
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # torch leaves its capture's stream on where the end of a capture raises
            seeds.release(generators)
            why = (reason or str(error)).partition("\n")[0]
            self.log.info(f"No CUDA graph of this net, which runs without one, slower: {why}", severity="W")
            loss = None
        if loss is None:
            self._may_capture = False
            for parameter, gradient in zip(self.trained, gradients, strict=True):
                parameter.grad = gradient
            return
        self._graph, self._loss = graph, loss.detach()
