"""One row of the table with its numbers drawn, as a layer of either engine and as a net for real Caffe."""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf
import torch
from google.protobuf import text_format
from layer_cases import CASES, Case

from fer.engines.core.layer import Layer
from fer.engines.core.node import Node
from fer.engines.pytorch import registry as pytorch
from fer.engines.tensorflow import context as tensorflow
from fer.engines.tensorflow.keras_layers.own import nchw, nhwc
from fer.engines.tensorflow.registry import LAYERS
from fer.engines.tensorflow.wired import Wired
from fer.engines.tensorflow.wiring import Wiring
from fer.schema import caffe_pb2

Arrays = dict[str, np.ndarray]


def layer_proto(case: Case) -> caffe_pb2.LayerParameter:
    proto = caffe_pb2.LayerParameter(name="it", type=case.type)
    proto.bottom.extend(f"x{i}" for i in range(len(case.bottoms)))
    proto.top.extend(f"y{i}" for i in range(case.tops))
    return text_format.Merge(case.param, proto)


class Trial(ABC):
    """A row of the table, set up as a layer."""

    layer: Layer

    def __init__(self, number: int) -> None:
        self.case = CASES[number]
        rng = np.random.default_rng(number)
        self.proto = layer_proto(self.case)
        self.layer = self.create()
        self.shapes = [tuple(shape) for shape in self.layer.setup([bottom.shape for bottom in self.case.bottoms])]
        self.bottoms = [bottom.draw(rng, bottom.shape).astype(np.float32) for bottom in self.case.bottoms]
        tops = self.top_shapes()
        assert self.shapes == tops or self.case.type == "Filter", "setup foretells the shapes"
        shapes = [tuple(blob.shape) for blob in self.layer.blobs]
        self.blobs = [np.asarray(rng.normal(size=shape), np.float32) for shape in shapes]
        if self.case.type == "BatchNorm":
            self.blobs = [self.blobs[0], np.abs(self.blobs[1]) + 1, np.array([2.5], np.float32)]
        self.losses = self.layer.loss_layer or bool(self.proto.loss_weight)
        self.diffs = [] if self.losses else [np.asarray(rng.normal(size=shape), np.float32) for shape in tops]
        self.fill(self.blobs)

    @abstractmethod
    def create(self) -> Layer:
        """The layer, not yet set up."""

    @abstractmethod
    def top_shapes(self) -> list[tuple[int, ...]]:
        """Of what a forward pass makes."""

    @abstractmethod
    def fill(self, blobs: list[np.ndarray]) -> None:
        """Give the layer's blobs their numbers."""

    @abstractmethod
    def run(self) -> Arrays:
        """Tops, gradients of bottoms and blobs, and the blobs afterwards, by the oracle's names."""

    @property
    def loss_weight(self) -> float:
        return self.proto.loss_weight[0] if self.proto.loss_weight else 1

    # ---- the same for real Caffe

    def model(self) -> str:
        """A net of this one layer.

        Bottoms that want a gradient are learnable, and some top counts as a loss: else Caffe skips the way back.
        """
        net = caffe_pb2.NetParameter()
        for i, bottom in enumerate(self.case.bottoms):
            kind = "parameter_param" if self._learns(i) else "input_param"
            source = net.layer.add(name=f"x{i}", type="Parameter" if self._learns(i) else "Input", top=[f"x{i}"])
            shape = getattr(source, kind).shape if self._learns(i) else source.input_param.shape.add()
            shape.dim.extend(bottom.shape)
            shape.SetInParent()
        net.layer.append(self.proto)
        if self.case.backward and self.case.tops and not self.losses:
            net.layer[-1].loss_weight.extend([1] + [0] * (self.case.tops - 1))
        return text_format.MessageToString(net)

    def _learns(self, i: int) -> bool:
        return self.case.bottoms[i].gradient and self.case.backward

    def arrays(self) -> dict[str, np.ndarray]:
        given = {f"blob/x{i}/0" if self._learns(i) else f"bottom/x{i}": x for i, x in enumerate(self.bottoms)}
        given |= {f"blob/it/{i}": blob for i, blob in enumerate(self.blobs)}
        # A top's gradient that our layer cuts, Caffe's ignores too, so it may be anything.
        return given | {f"diff/y{i}": diff for i, diff in enumerate(self.diffs) if i < self.case.tops}

    def request(self) -> dict[str, object]:
        return {
            "model": self.model(),
            "phase": self.case.phase,
            "backward": self.case.backward,
            "tops": list(self.proto.top),
            "needs_gradient": [f"x{i}" for i in range(len(self.bottoms)) if self._learns(i)],
        }


class TorchTrial(Trial):
    layer: pytorch.Layer

    def __init__(self, number: int, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        super().__init__(number)

    def create(self) -> pytorch.Layer:
        context = pytorch.Context(phase=self.case.phase, dtype=self.dtype, seeds=pytorch.Seeds(1))
        return pytorch.create(self.proto, context)

    def top_shapes(self) -> list[tuple[int, ...]]:
        with torch.no_grad():
            return [tuple(top.shape) for top in self.layer.forward(*self.tensors())]

    def fill(self, blobs: list[np.ndarray]) -> None:
        with torch.no_grad():
            for blob, values in zip(self.layer.blobs, blobs, strict=True):
                blob.copy_(torch.from_numpy(values))

    def tensors(self, channels_last: bool = False) -> list[torch.Tensor]:
        made = [torch.from_numpy(values).to(self.dtype) for values in self.bottoms]
        if channels_last:
            made = [x.to(memory_format=torch.channels_last) if x.dim() == 4 else x for x in made]
        wanted = [bottom.gradient and self.case.backward for bottom in self.case.bottoms]
        return [x.requires_grad_(want) for x, want in zip(made, wanted, strict=True)]

    def run(self, channels_last: bool = False) -> Arrays:
        bottoms = self.tensors(channels_last)
        tops = self.layer.forward(*bottoms)
        found = {f"top/y{i}": top.detach().numpy() for i, top in enumerate(tops)}
        found |= {f"param/it/{i}": blob.detach().numpy() for i, blob in enumerate(self.layer.blobs)}
        if not self.case.backward:
            return found
        if self.losses:
            total: torch.Tensor | int = tops[0] * self.loss_weight
        else:
            pairs = zip(tops, self.diffs, strict=False)
            total = sum((top * torch.from_numpy(diff).to(top)).sum() for top, diff in pairs if top.requires_grad)
        if isinstance(total, torch.Tensor):
            total.backward()
        found |= {f"diff/x{i}": _grad(x) for i, x in enumerate(bottoms) if x.requires_grad}
        found |= {f"param_diff/it/{i}": _grad(b) for i, b in enumerate(self.layer.blobs) if b.requires_grad}
        return found


def _grad(x: torch.Tensor) -> np.ndarray:
    return (torch.zeros_like(x) if x.grad is None else x.grad).detach().numpy()


class KerasTrial(Trial):
    """The layer wired into a Keras model of its own, which is run without a graph: that is quicker for one pass."""

    def create(self) -> Layer:
        return LAYERS.create(self.proto, tensorflow.Context(phase=self.case.phase, seeds=tensorflow.Seeds(1)))

    def top_shapes(self) -> list[tuple[int, ...]]:
        tops = list(self.proto.top)
        node = Node(self.layer, "it", self.case.type, list(self.proto.bottom), tops, [], [False] * len(self.bottoms))
        shapes = {f"x{i}": bottom.shape for i, bottom in enumerate(self.case.bottoms)}
        self.wired = Wired([node], shapes, Wiring(self.case.phase), tops)
        return [tuple(top.shape) for top in self._forward(list(map(tf.constant, self.bottoms)))]

    def fill(self, blobs: list[np.ndarray]) -> None:
        for blob, values in zip(self.layer.blobs, blobs, strict=True):
            blob.assign(values)

    def _forward(self, bottoms: list[tf.Tensor]) -> list[tf.Tensor]:
        given = {f"x{i}": nhwc(bottom) for i, bottom in enumerate(bottoms)}
        blobs = self.wired.compute([], np.zeros((1, 2), np.uint32), given)
        return [nchw(blobs[top]) for top in self.proto.top]

    def run(self) -> Arrays:
        learns = [blob for blob in self.layer.blobs if self.layer.learns]
        bottoms = list(map(tf.constant, self.bottoms))
        with tf.GradientTape() as tape:
            tape.watch(bottoms)
            tops = self._forward(bottoms)
            if self.losses:
                total = tops[0] * self.loss_weight
            else:
                total = tf.add_n(
                    [tf.reduce_sum(top * diff) for top, diff in zip(tops, self.diffs, strict=True)] or [0.0]
                )
        found = {f"top/y{i}": top.numpy() for i, top in enumerate(tops)}
        found |= {f"param/it/{i}": blob.numpy() for i, blob in enumerate(self.layer.blobs)}
        if not self.case.backward:
            return found
        wanted = [*bottoms, *(blob.variable for blob in learns)]
        gradients = tape.gradient(total, wanted, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        arrays = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        found |= {f"diff/x{i}": arrays[i] for i, bottom in enumerate(self.case.bottoms) if bottom.gradient}
        for i, (blob, array) in enumerate(zip(learns, arrays[len(bottoms) :], strict=True)):
            found[f"param_diff/it/{i}"] = array if blob.axes is None else array.transpose(np.argsort(blob.axes))
        return found


TRIALS: dict[str, type[Trial]] = {"pytorch": TorchTrial, "tensorflow": KerasTrial}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest of `theirs` (1e-2 where all of those are smaller)."""
    assert ours.shape == theirs.shape
    if np.array_equal(ours, theirs, equal_nan=True):  # of nothing, and of inf and nan too
        return 0.0
    return float(np.max(np.abs(ours.astype(np.float64) - theirs)) / max(np.max(np.abs(theirs)), 1e-2))
