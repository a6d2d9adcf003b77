"""A Caffe net on TensorFlow: a Keras model of its layers, and passes through it in graphs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from fer.engines.core.framework import Shape
from fer.engines.core.net import Assembly, teachable
from fer.engines.core.node import Node
from fer.engines.tensorflow.blob import Blob, View
from fer.engines.tensorflow.context import Context
from fer.engines.tensorflow.faults import spoken
from fer.engines.tensorflow.keras_layers.own import nchw
from fer.engines.tensorflow.layer import Tensor
from fer.engines.tensorflow.layers.data import Fed
from fer.engines.tensorflow.registry import LAYERS
from fer.engines.tensorflow.timing import Timed, time_pass
from fer.engines.tensorflow.wired import Wired
from fer.engines.tensorflow.wiring import Wiring
from fer.nets.states import State
from fer.schema import caffe_pb2

POLICIES = {"fp32": "float32", "tf32": "float32", "bf16": "mixed_bfloat16"}
"""What Keras calls our precisions."""


class Net(Assembly[Node]):
    """A net with its passes. Its parameters are variables of ours, which Keras' layers are given in each pass."""

    registry = LAYERS
    framework = "TensorFlow"
    node = Node
    context: Context
    params: dict[str, list[Blob]]

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
        self._measuring = False
        self._forget()

    def view(self, blob: Blob, shape: Shape) -> View:
        return View(blob, shape)

    def _forget(self) -> None:
        """Wire the net anew when it is next run."""
        self._model: Wired | None = None
        self._evaluate: Any = None
        self._infer: dict[str, Any] = {}
        self._timed: list[Timed] = []

    # ---- the model

    @property
    def model(self) -> Wired:
        """The net in Keras."""
        if self._model is None:
            self._parameters.bind()
            wanted = [name for name, _ in self.outputs]
            weighted = [top for node in self.nodes for top, w in zip(node.tops, node.loss_weights, strict=False) if w]
            policy = POLICIES[self.context.precision]
            wiring = Wiring(self.context.phase, policy, self._measuring)
            self._model = Wired(self.nodes, self.shapes, wiring, list(dict.fromkeys([*wanted, *weighted])))
        return self._model

    def feeds(self) -> tuple[list[Fed], np.ndarray]:
        """What the host tells the graph for the next pass: for each data layer, and of the random generators."""
        return [layer.feed() for layer in self.model.sources], self.model.seeds(self.context.seeds)

    def compute(
        self, fed: Any, seeds: Tensor, given: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """In a graph: the weighted loss, and the blobs that it or the outputs need."""
        blobs = self.model.compute(fed, seeds, given or {})
        loss = tf.zeros(())
        for node in self.nodes:
            for top, weight in zip(node.tops, node.loss_weights, strict=False):
                if weight:
                    loss += tf.cast(tf.reduce_sum(blobs[top]), tf.float32) * weight
        return loss, blobs

    def outputs_of(self, blobs: Mapping[str, Tensor]) -> list[Tensor]:
        """The output blobs in Caffe's order and layout, float32."""
        return [tf.cast(nchw(blobs[name]), tf.float32) for name, _ in self.outputs]

    # ---- running

    def run_lean(self) -> None:
        """A graph keeps nothing that it does not need."""

    def evaluate(self) -> tuple[Tensor, list[Tensor]]:
        """A forward pass that nothing is learnt from: the weighted loss, and the outputs as float32."""
        if self._evaluate is None:

            @tf.function
            def evaluate(fed: Any, seeds: Tensor) -> Any:
                loss, blobs = self.compute(fed, seeds)
                return loss, self.outputs_of(blobs)

            self._evaluate = evaluate
        with spoken(self):
            loss, outputs = self._evaluate(*self.feeds())
        return loss, outputs

    def host(self, value: Tensor) -> np.ndarray:
        """The numbers of a value, float32."""
        return np.asarray(value, np.float32)

    def infer(self, images: np.ndarray, output: str) -> np.ndarray:
        """float64 [N, K]: the blob `output` for float32 images [N, C, H, W] given to the only input."""
        name = self.inputs[0]
        if self.shapes[name][1:] != images.shape[1:] and self.reshape_for({name: images.shape}):
            self._forget()
        if output not in self._infer:

            @tf.function
            def infer(pixels: Tensor, fed: Any, seeds: Tensor) -> Tensor:
                return nchw(self.model.compute(fed, seeds, {name: pixels})[output])

            self._infer[output] = infer
        with spoken(self):
            answer = self._infer[output](np.ascontiguousarray(images.transpose(0, 2, 3, 1)), *self.feeds())
        return np.asarray(answer, np.float64).reshape(len(images), -1)

    def time_pass(self, forward: dict[str, float], backward: dict[str, float]) -> None:
        """Run the layers one by one forward, then backward; add each one's milliseconds, by its name."""
        if not self._timed:
            self._parameters.bind()
            policy = POLICIES[self.context.precision]
            self._timed = [Timed(node, self.shapes, Wiring(self.context.phase, policy)) for node in self.nodes]
        time_pass(self._timed, self.context.seeds, forward, backward)

    # ---- BatchNorm's statistics

    def measure_statistics(self, batches: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Measure anew what BatchNorm knows, on `batches` forward passes; FerError where it is not finite."""
        norms = teachable(self.nodes)
        with self._counting_alike(norms):
            for done in range(batches):
                self.evaluate()
                if progress:
                    progress(done + 1, batches)
        for norm in norms:
            if not all(np.isfinite(blob.numpy()).all() for blob in norm.blobs):
                norm.fail("its statistics are not finite with the mean of these weights")

    @contextmanager
    def _counting_alike(self, norms: list[Any]) -> Iterator[None]:
        """While open, every pass adds to the statistics, which begin at nothing."""
        for norm in norms:
            norm.fraction = 1.0
            for blob in norm.blobs:
                blob.assign(np.zeros(blob.shape, np.float32))
        self._measuring = True
        self._forget()
        yield
        self._measuring = False
        self._forget()

    # ---- parameters and state

    def blob(self, layer: str, index: int) -> np.ndarray:
        """A layer's parameter as a float32 array, C-contiguous, in its shape."""
        return self.params[layer][index].numpy()

    def set_blob(self, layer: str, index: int, values: np.ndarray) -> None:
        """Give a parameter the values, which have its shape."""
        self.params[layer][index].assign(values)

    def share(self, other: Assembly[Any]) -> None:
        super().share(other)
        self._forget()

    def state(self) -> dict[str, Any]:
        """Cursors of the layers and states of the generators: with the parameters, all that the next pass needs."""
        return {"layers": self.cursors(), "generators": self.generators()}

    def generators(self) -> dict[str, np.ndarray]:
        """uint8 state of every generator asked so far, by name."""
        return self.context.seeds.state()

    def load_state(self, state: Mapping[str, Any], iteration: int = 0) -> list[str]:
        """Continues where `state` was taken. Returns the names of generators that begin anew (`Seeds.load_state`)."""
        anew = self.context.seeds.load_state(state.get("generators", {}), iteration)
        self.load_cursors(state.get("layers", {}))
        return anew
