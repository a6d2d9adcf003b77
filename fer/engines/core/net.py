"""A Caffe net but for its arithmetic: layers wired by blob names, parameters shared by name, its outputs in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from fer.engines.core.framework import Shape
from fer.engines.core.labels import IndexCheck
from fer.engines.core.layer import Context, Layer
from fer.engines.core.layers.data import ImageBatches
from fer.engines.core.layers.normalize import BatchNorm
from fer.engines.core.node import Node, loss_weights
from fer.engines.core.parameters import Parameters
from fer.engines.core.registry import Registry
from fer.engines.core.splits import insert_splits
from fer.errors import FerError
from fer.formats.prototxt_text import is_utf8
from fer.formats.upgrade import upgrade_net
from fer.nets.lint import lint_net, net_lines
from fer.nets.states import State, filter_net, taking_part
from fer.schema import caffe_pb2

_Node = TypeVar("_Node", bound=Node)


class Assembly(Generic[_Node]):
    """The layers of a prototxt that take part in `context.phase`, set up in order.

    `path` is the file the net was read from: faults are then reported with its lines. A framework's net adds
    passes.
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
        upgraded = upgrade_net(net)
        state = state or State(context.phase)
        lines = _lint(upgraded, path, state, self.registry)
        self.filtered = filter_net(upgraded, state)
        self.context: Any = replace(context, stages=tuple(self.filtered.state.stage), shuffled={})
        self.proto = insert_splits(self.filtered)
        self.name = self.proto.name
        self.nodes: list[_Node] = []
        self.shapes: dict[str, Shape] = {}
        self.params: dict[str, list[Any]] = {}
        self._parameters = Parameters(self.view)
        self.learnable = self._parameters.learnable
        self.outputs: list[tuple[str, float | None]] = []
        self._check_indices = IndexCheck()
        for param in self.proto.layer:
            try:
                self._add(param)
            except FerError as error:
                line = lines.get(param.name)
                raise FerError(f"{path}:{line}: {error}" if line else str(error)) from None
        self._find_outputs()

    # ---- what a framework says

    registry: Registry[Any]
    framework: str
    """Its name, for a person."""
    node: Callable[..., _Node]
    """What makes a node."""

    def view(self, blob: Any, shape: Shape) -> Any:
        """A parameter's numbers in another shape, through which gradients reach it."""
        raise NotImplementedError

    def made(self, layer: Layer) -> None:
        """A layer that was set up, before its parameters are shared."""

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
        layer = self.registry.create(param, context)
        tops = list(param.top)
        shapes = layer.setup([self.shapes[bottom] for bottom in param.bottom])
        for i in range(len(tops), len(shapes)):
            tops.append(f"(automatic {param.name} {i})")
        self.shapes.update(zip(tops, map(tuple, shapes), strict=False))
        self._check_indices(layer, tops)
        self.made(layer)
        cut = [not down for down in param.propagate_down] or [False] * len(param.bottom)
        weights = loss_weights(layer, len(tops))
        self.nodes.append(self.node(layer, param.name, param.type, list(param.bottom), tops, weights, cut))
        if len(layer.param.param) > len(layer.blobs):
            raise FerError(
                f"layer '{param.name}' ({param.type}): Too many params specified: {len(layer.param.param)} for "
                f"{len(layer.blobs)} parameter blobs"
            )
        if layer.blobs:
            self._add_parameters(layer)

    def _add_parameters(self, layer: Layer) -> None:
        name = layer.param.name
        if not is_utf8(name):
            raise FerError(
                f"layer '{name}': its name is no UTF-8, as it has to be in the .caffemodel of {self.framework}; "
                "save the net as UTF-8, or take --engine caffe"
            )
        for index in range(len(layer.blobs)):
            self._parameters.add(layer, index)
        self.params[name] = layer.blobs

    def _find_outputs(self) -> None:
        """Caffe's outputs: the blobs nobody reads, in the order of their names."""
        available: dict[str, float] = {}
        last_reader: dict[str, _Node] = {}
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

    # ---- what it is

    @property
    def inputs(self) -> list[str]:
        """Tops of the Input layers, in order."""
        return [top for node in self.nodes if node.type == "Input" for top in node.tops]

    @property
    def blob_shapes(self) -> dict[str, list[Shape]]:
        """The shapes of each layer's parameters, statistics too."""
        return {name: [tuple(blob.shape) for blob in blobs] for name, blobs in self.params.items()}

    def epoch(self) -> int | None:
        """The batches that show each image of the data layers once; None where no layer can tell."""
        return max((n.layer.epoch() for n in self.nodes if isinstance(n.layer, ImageBatches)), default=None)

    def measures_statistics(self) -> bool:
        """Whether there is a BatchNorm layer that training teaches statistics."""
        return bool(teachable(self.nodes))

    def reshape_for(self, inputs: Mapping[str, Shape]) -> bool:
        """Set the net up for inputs of these shapes; whether they are others than before. FerError for a name that is
        no input's."""
        if all(self.shapes.get(name) == shape for name, shape in inputs.items()):
            return False
        for name in inputs:
            if name not in self.inputs:
                raise FerError(f"the net has no input '{name}'; its inputs: {', '.join(self.inputs) or 'none'}")
        self.shapes.update(inputs)
        for node in self.nodes:
            if node.bottoms or not all(top in inputs for top in node.tops):
                shapes = node.layer.reshape([self.shapes[bottom] for bottom in node.bottoms])
                self.shapes.update(zip(node.tops, map(tuple, shapes), strict=False))
        return True

    # ---- parameters and state

    def share(self, other: "Assembly[Any]") -> None:
        """Use `other`'s parameters in every layer of the same name; FerError where their shapes differ."""
        mine = {node.name: node.layer for node in self.nodes}
        for node in other.nodes:
            target = mine.get(node.name)
            if target is None or not (target.blobs or node.layer.blobs):
                continue
            if [tuple(b.shape) for b in target.blobs] != [tuple(b.shape) for b in node.layer.blobs]:
                target.fail("its parameters' shapes in the test net differ from those in the train net")
            target.blobs[:] = node.layer.blobs
        self._parameters.share_reshaped(mine, {id(node.layer): node.name for node in other.nodes}, other._parameters)

    def cursors(self) -> dict[str, dict[str, Any]]:
        """Where the layers that have a state are, by name."""
        return {node.name: state for node in self.nodes if (state := node.layer.state())}

    def load_cursors(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Continue where `cursors` was taken."""
        for node in self.nodes:
            if node.name in states:
                node.layer.load_state(states[node.name])

    def seek(self, batches: int) -> None:
        """Put every data layer to where it would be after `batches` forward passes."""
        for node in self.nodes:
            node.layer.seek(batches)


def teachable(nodes: Sequence[Node]) -> list[BatchNorm]:
    """The BatchNorm layers whose statistics training touches."""
    return [node.layer for node in nodes if isinstance(node.layer, BatchNorm) and not node.layer.uses_stored]


def leading_to(nodes: Sequence[_Node], ends: Sequence[Layer]) -> list[_Node]:
    """The nodes of these layers, and those that make what they are given."""
    needed: set[str] = set()
    found = []
    for node in reversed(nodes):
        if any(node.layer is end for end in ends) or not needed.isdisjoint(node.tops):
            needed.update(node.bottoms)
            found.append(node)
    return found[::-1]


def _lint(
    net: caffe_pb2.NetParameter, path: str | Path | None, state: State, registry: Registry[Any]
) -> dict[str, int]:
    """Raises FerError with every fault of a net read from `path`. Returns the line of each layer by name."""
    if path is None or not Path(path).is_file():
        return {}
    faults = lint_net(net, path, registry.known_types() | {"Python"}, [state])
    if faults:
        raise FerError("\n".join(faults))
    lines = net_lines(net, path)
    return {net.layer[i].name: lines[i] for i in taking_part(net, state)}
