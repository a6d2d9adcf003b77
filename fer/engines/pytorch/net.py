"""A Caffe net on torch: layers wired by blob names, parameters shared by name, outputs in Caffe's order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer.engines.core.splits import insert_splits
from fer.engines.pytorch.device import computing
from fer.engines.pytorch.fusion import fuse
from fer.engines.pytorch.layers.data import ImageBatches
from fer.engines.pytorch.layers.labels import IndexCheck
from fer.engines.pytorch.node import Node, loss_weights
from fer.engines.pytorch.parameters import Parameters
from fer.engines.pytorch.registry import Context, Layer, Shape, create, known_types
from fer.engines.pytorch.statistics import measuring, teachable
from fer.engines.pytorch.timing import time_pass
from fer.errors import FerError
from fer.formats.prototxt_text import is_utf8
from fer.formats.upgrade import upgrade_net
from fer.nets.lint import lint_net, net_lines
from fer.nets.states import State, filter_net, taking_part
from fer.schema import caffe_pb2


class Net:
    """The layers of a prototxt that take part in `context.phase`, set up in order.

    `path` is the file the net was read from: faults are then reported with its lines. `blobs` keeps what forward
    makes, all of it until `run_lean` is called.
    """

    def __init__(
        self,
        net: caffe_pb2.NetParameter,
        context: Context,
        *,
        state: State | None = None,
        path: str | Path | None = None,
    ):
        """`state` is the one to filter the net for, in the context's phase (None: without stages)."""
        self._keep_blobs = True
        upgraded = upgrade_net(net)
        state = state or State(context.phase)
        lines = _lint(upgraded, path, state)
        self.filtered = filter_net(upgraded, state)
        self.context = replace(context, stages=tuple(self.filtered.state.stage), shuffled={})
        self.proto = insert_splits(self.filtered)
        self.name = self.proto.name
        self.nodes: list[Node] = []
        self.schedule = self.nodes
        """What forward runs: the nodes, or fewer that do the same."""
        self.shapes: dict[str, Shape] = {}
        self.params: dict[str, list[nn.Parameter]] = {}
        self._parameters = Parameters()
        self.learnable = self._parameters.learnable
        self.blobs: dict[str, Tensor] = {}
        self.outputs: list[tuple[str, float | None]] = []
        self._check_indices = IndexCheck()
        for param in self.proto.layer:
            try:
                self._add(param)
            except FerError as error:
                line = lines.get(param.name)
                raise FerError(f"{path}:{line}: {error}" if line else str(error)) from None
        self._freeze()
        self._find_outputs()

    # ---- building

    def _add(self, param: caffe_pb2.LayerParameter) -> None:
        context = self.context
        if param.HasField("phase"):
            context = replace(context, phase=caffe_pb2.Phase.Name(param.phase))
        else:
            param.MergeFrom(caffe_pb2.LayerParameter(phase=context.phase))
        if param.propagate_down and len(param.propagate_down) != len(param.bottom):
            raise FerError(
                f"layer '{param.name}': propagate_down is given {len(param.propagate_down)} times for "
                f"{len(param.bottom)} bottoms; give it once per bottom or not at all"
            )
        layer = create(param, context)
        tops = list(param.top)
        shapes = layer.setup([self.shapes[bottom] for bottom in param.bottom])
        for i in range(len(tops), len(shapes)):
            tops.append(f"(automatic {param.name} {i})")
        self.shapes.update(zip(tops, map(tuple, shapes), strict=False))
        self._check_indices(layer, tops)
        self._set_memory_format(layer)
        cut = [not down for down in param.propagate_down] or [False] * len(param.bottom)
        node = Node(layer, param.name, param.type, list(param.bottom), tops, loss_weights(layer, len(tops)), cut)
        self.nodes.append(node)
        if len(layer.param.param) > len(layer.blobs):
            raise FerError(
                f"layer '{param.name}' ({param.type}): Too many params specified: {len(layer.param.param)} for "
                f"{len(layer.blobs)} parameter blobs"
            )
        if layer.blobs:
            if not is_utf8(param.name):
                raise FerError(
                    f"layer '{param.name}': its name is no UTF-8, as it has to be in the .caffemodel of PyTorch; "
                    "save the net as UTF-8, or take --engine caffe"
                )
            for index in range(len(layer.blobs)):
                self._parameters.add(layer, index)
            self.params[param.name] = layer.blobs

    def _set_memory_format(self, layer: Layer) -> None:
        for blob in layer.blobs:
            if blob.dim() == 4 and blob.shape[2] * blob.shape[3] > 1:
                blob.data = blob.data.to(memory_format=self.context.memory_format)

    def _freeze(self) -> None:
        for learned in self.learnable:
            learned.parameter.requires_grad_(learned.lr_mult > 0 and self.context.training)

    def _find_outputs(self) -> None:
        """Caffe's outputs: the blobs nobody reads, in the order of their names."""
        available: dict[str, float] = {}
        last_reader: dict[str, Node] = {}
        for node in self.nodes:
            for bottom in node.bottoms:
                available.pop(bottom, None)
                last_reader[bottom] = node
            for top, weight in zip(node.tops, node.loss_weights, strict=True):
                if not top.startswith("(automatic"):
                    available[top] = weight
        self.outputs = [(name, available[name] or None) for name in sorted(available, key=str.encode)]
        for name, node in last_reader.items():
            if name not in available and name not in node.tops:
                node.last_use.append(name)

    # ---- running

    def run_lean(self) -> None:
        """From now on keep no blob that is neither an output nor needed by a later layer, and make none needlessly."""
        self._keep_blobs = False
        self.schedule = fuse(self.nodes)

    @property
    def inputs(self) -> list[str]:
        """Tops of the Input layers, in order."""
        return [top for node in self.nodes if node.type == "Input" for top in node.tops]

    def run(self, nodes: list[Node], blobs: dict[str, Tensor], given: dict[str, Tensor] | None = None) -> Tensor | None:
        """Forward through `nodes`, reading and filling `blobs`; the weighted loss of their tops, if any has a weight.

        Nodes whose tops are all in `given` are not run.
        """
        self._parameters.bind()
        total: Tensor | None = None
        force = self.filtered.force_backward and torch.is_grad_enabled()
        for node in nodes:
            if given and node.tops and all(top in given for top in node.tops):
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
            self._reshape_for(inputs)
        loss = self.run(self.schedule, self.blobs, inputs)
        return torch.zeros((), dtype=self.context.dtype, device=self.context.device) if loss is None else loss

    def _reshape_for(self, inputs: dict[str, Tensor]) -> None:
        if all(self.shapes.get(name) == tuple(value.shape) for name, value in inputs.items()):
            return
        for name in inputs:
            if name not in self.inputs:
                raise FerError(f"the net has no input '{name}'; its inputs: {', '.join(self.inputs) or 'none'}")
        self.shapes.update({name: tuple(value.shape) for name, value in inputs.items()})
        for node in self.nodes:
            if not all(top in inputs for top in node.tops):
                shapes = node.layer.reshape([self.shapes[bottom] for bottom in node.bottoms])
                self.shapes.update(zip(node.tops, map(tuple, shapes), strict=False))

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

    def epoch(self) -> int | None:
        """The batches that show each image of the data layers once; None where no layer can tell."""
        return max((layer.epoch() for _, layer in self.stateful() if isinstance(layer, ImageBatches)), default=None)

    def measures_statistics(self) -> bool:
        """Whether there is a BatchNorm layer that training teaches statistics."""
        return bool(teachable(self.nodes))

    def measure_statistics(self, batches: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Measure anew what BatchNorm knows, on `batches` forward passes; FerError where it is not finite."""
        with measuring(self.nodes):
            self.run_lean()
            for done in range(batches):
                self.evaluate()
                if progress:
                    progress(done + 1, batches)

    # ---- parameters

    @property
    def blob_shapes(self) -> dict[str, list[Shape]]:
        """The shapes of each layer's parameters, statistics too."""
        return {name: [tuple(blob.shape) for blob in blobs] for name, blobs in self.params.items()}

    def blob(self, layer: str, index: int) -> np.ndarray:
        """A layer's parameter as a float32 array, C-contiguous, in its shape."""
        return np.ascontiguousarray(self.host(self.params[layer][index]))

    @torch.no_grad()
    def set_blob(self, layer: str, index: int, values: np.ndarray) -> None:
        """Give a parameter the values, which have its shape."""
        self.params[layer][index].copy_(torch.from_numpy(values))

    def share(self, other: "Net") -> None:
        """Use `other`'s parameters in every layer of the same name; FerError where their shapes differ."""
        mine = {node.name: node.layer for node in self.nodes}
        for node in other.nodes:
            target = mine.get(node.name)
            if target is None or not (target.blobs or node.layer.blobs):
                continue
            if [b.shape for b in target.blobs] != [b.shape for b in node.layer.blobs]:
                target.fail("its parameters' shapes in the test net differ from those in the train net")
            target.blobs[:] = node.layer.blobs
        self._parameters.share_reshaped(mine, {id(node.layer): node.name for node in other.nodes}, other._parameters)

    def stateful(self) -> Iterator[tuple[str, Layer]]:
        for node in self.nodes:
            yield node.name, node.layer

    def state(self) -> dict[str, Any]:
        """Cursors of the layers and states of the generators: with the parameters, all that the next pass needs."""
        layers = {name: state for name, layer in self.stateful() if (state := layer.state())}
        return {"layers": layers, "generators": self.generators()}

    def generators(self) -> dict[str, np.ndarray]:
        """uint8 state of every generator made so far, by name."""
        return {name: state.numpy() for name, state in self.context.seeds.state().items()}

    def load_state(self, state: Mapping[str, Any], iteration: int = 0) -> list[str]:
        """Continues where `state` was taken. Returns the names of generators that begin anew (`Seeds.load_state`)."""
        saved = state.get("generators", {})
        generators = {name: None if array is None else torch.from_numpy(array) for name, array in saved.items()}
        anew = self.context.seeds.load_state(generators, iteration)
        for name, layer in self.stateful():
            if name in state.get("layers", {}):
                layer.load_state(state["layers"][name])
        return anew

    def seek(self, batches: int) -> None:
        """Put every data layer to where it would be after `batches` forward passes."""
        for _, layer in self.stateful():
            layer.seek(batches)


def _lint(net: caffe_pb2.NetParameter, path: str | Path | None, state: State) -> dict[str, int]:
    """Raises FerError with every fault of a net read from `path`. Returns the line of each layer by name."""
    if path is None or not Path(path).is_file():
        return {}
    faults = lint_net(net, path, known_types() | {"Python"}, [state])
    if faults:
        raise FerError("\n".join(faults))
    lines = net_lines(net, path)
    return {net.layer[i].name: lines[i] for i in taking_part(net, state)}
