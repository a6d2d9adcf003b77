"""A Caffe net on torch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer.engines.core.layer import Layer
from fer.engines.core.net import Assembly, leading_to, teachable
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.fusion import fuse
from fer.engines.pytorch.node import Node
from fer.engines.pytorch.registry import REGISTRY, Context, Shape
from fer.engines.pytorch.statistics import measuring
from fer.engines.pytorch.timing import time_pass
from fer.nets.states import State
from fer.schema import caffe_pb2


class Net(Assembly[Node]):
    """A net with its passes. `blobs` keeps what forward makes, all of it until `run_lean` is called."""

    registry = REGISTRY
    framework = "PyTorch"
    node = Node
    context: Context
    params: dict[str, list[nn.Parameter]]

    def __init__(
        self,
        net: caffe_pb2.NetParameter,
        context: Context,
        *,
        state: State | None = None,
        path: str | Path | None = None,
    ):
        """`state` is the one to filter the net for, in the context's phase (None: without stages)."""
        super().__init__(net, context, state=state, path=path)
        self._keep_blobs = True
        self.schedule = self.nodes
        """What forward runs: the nodes, or fewer that do the same."""
        self.blobs: dict[str, Tensor] = {}
        for learned in self.learnable:
            learned.parameter.requires_grad_(learned.lr_mult > 0 and self.context.training)

    def view(self, blob: nn.Parameter, shape: Shape) -> Tensor:
        return blob.reshape(shape)

    def made(self, layer: Layer) -> None:
        for blob in layer.blobs:
            if blob.dim() == 4 and blob.shape[2] * blob.shape[3] > 1:
                blob.data = blob.data.to(memory_format=self.context.memory_format)

    # ---- running

    def run_lean(self) -> None:
        """From now on keep no blob that is neither an output nor needed by a later layer, and make none needlessly."""
        self._keep_blobs = False
        self.schedule = fuse(self.nodes)

    def run(self, nodes: list[Node], blobs: dict[str, Tensor], given: dict[str, Tensor] | None = None) -> Tensor | None:
        """Forward through `nodes`, reading and filling `blobs`; the weighted loss of their tops, if any has a weight.

        Nodes without bottoms whose tops are all in `given` are not run.
        """
        self._parameters.bind()
        total: Tensor | None = None
        force = self.filtered.force_backward and torch.is_grad_enabled()
        for node in nodes:
            if given and node.tops and not node.bottoms and all(top in given for top in node.tops):
                tops = tuple(given[top] for top in node.tops)
            else:
                bottoms = [blobs[name] for name in node.bottoms]
                if any(node.cut):
                    bottoms = [b.detach() if cut else b for b, cut in zip(bottoms, node.cut, strict=True)]
                tops = node.forward(*bottoms)
            for name, top, weight in zip(node.tops, tops, node.loss_weights, strict=False):
                if force and not node.bottoms and top.is_floating_point():
                    top = top.detach().requires_grad_()
                blobs[name] = top
                if weight:
                    term = (top if top.dim() == 0 else top.sum()) * weight if weight != 1 or top.dim() else top
                    total = term if total is None else total + term
            if not self._keep_blobs:
                for name in node.last_use:
                    del blobs[name]
        return total

    def forward(self, **inputs: Tensor) -> Tensor:
        """One forward pass: sets `blobs`, returns the weighted loss (0-dim). `inputs` replace Input layers' tops."""
        self.blobs = {}
        if inputs:
            self.reshape_for({name: tuple(value.shape) for name, value in inputs.items()})
        loss = self.run(self.schedule, self.blobs, inputs)
        return torch.zeros((), dtype=self.context.dtype, device=self.context.device) if loss is None else loss

    def output_values(self) -> list[Tensor]:
        """The output blobs of the last forward pass, detached, in Caffe's order."""
        return [self.blobs[name].detach() for name, _ in self.outputs]

    def evaluate(self) -> tuple[Tensor, list[Tensor]]:
        """A forward pass that nothing is learnt from: the weighted loss, and the outputs as float32."""
        with torch.no_grad(), computing(self.context.precision, self.context.device):
            loss = self.forward()
            return loss, [value.float() for value in self.output_values()]

    def host(self, value: Tensor) -> np.ndarray:
        """The numbers of a value, float32."""
        return value.detach().float().cpu().numpy()

    def infer(self, images: np.ndarray, output: str) -> np.ndarray:
        """float64 [N, K]: the blob `output` for float32 images [N, C, H, W] given to the only input."""
        pixels = torch.from_numpy(images).to(self.context.device)
        with torch.inference_mode(), computing(self.context.precision, self.context.device):
            self.forward(**{self.inputs[0]: pixels.contiguous(memory_format=self.context.memory_format)})
            return self.blobs[output].reshape(len(images), -1).double().cpu().numpy()

    def time_pass(self, forward: dict[str, float], backward: dict[str, float]) -> None:
        """Run the layers one by one forward, then backward; add each one's milliseconds, by its name."""
        time_pass(self.nodes, self.run, self.context, forward, backward)

    # ---- BatchNorm's statistics

    def measure_statistics(self, batches: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Measure anew what BatchNorm knows, on `batches` forward passes; FerError where it is not finite.

        Layers that lead to no BatchNorm, as losses and the teachers of a distilled net, are not run.
        """
        with measuring(self.nodes):
            self.run_lean()
            self.schedule = fuse(leading_to(self.nodes, teachable(self.nodes)))
            for done in range(batches):
                with torch.no_grad(), computing(self.context.precision, self.context.device):
                    self.forward()
                if progress:
                    progress(done + 1, batches)

    # ---- parameters

    def blob(self, layer: str, index: int) -> np.ndarray:
        """A layer's parameter as a float32 array, C-contiguous, in its shape."""
        return np.asarray(self.host(self.params[layer][index]), order="C")  # a single number keeps its shape ()

    @torch.no_grad()
    def set_blob(self, layer: str, index: int, values: np.ndarray) -> None:
        """Give a parameter the values, which have its shape."""
        self.params[layer][index].copy_(torch.from_numpy(values))

    def state(self) -> dict[str, Any]:
        """Cursors of the layers and states of the generators: with the parameters, all that the next pass needs."""
        return {"layers": self.cursors(), "generators": self.generators()}

    def generators(self) -> dict[str, np.ndarray]:
        """uint8 state of every generator made so far, by name."""
        return {name: state.numpy() for name, state in self.context.seeds.state().items()}

    def load_state(self, state: Mapping[str, Any], iteration: int = 0) -> list[str]:
        """Continues where `state` was taken. Returns the names of generators that begin anew (`Seeds.load_state`)."""
        saved = state.get("generators", {})
        generators = {name: None if array is None else torch.from_numpy(array) for name, array in saved.items()}
        anew = self.context.seeds.load_state(generators, iteration)
        self.load_cursors(state.get("layers", {}))
        return anew
