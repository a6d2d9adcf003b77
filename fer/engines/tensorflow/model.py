"""A Caffe net as a Keras model, for whoever goes on in Keras:

from fer.engines.tensorflow.model import build_model

model = build_model("train_val.prototxt", phase="TEST", weights="lenet_iter_10000.caffemodel")
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(images, labels)
model.save("lenet.keras")  # keras.models.load_model gives it back wherever fer.engines.tensorflow.model is imported
"""

from collections.abc import Sequence
from pathlib import Path

import keras

from fer.engines.core.layers.accuracy import Accuracy
from fer.engines.core.layers.loss import Loss
from fer.engines.core.node import Node
from fer.engines.core.weights import copy_weights
from fer.engines.tensorflow.context import Context
from fer.engines.tensorflow.net import Net
from fer.engines.tensorflow.wired import Wired
from fer.engines.tensorflow.wiring import Wiring
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State


def build_model(
    prototxt: str | Path,
    phase: str = "TEST",
    weights: str | Path | None = None,
    *,
    stages: Sequence[str] = (),
    outputs: Sequence[str] | None = None,
) -> keras.Model:
    """The layers of a prototxt that take part in `phase` and `stages`, with the weights of a .caffemodel (None: drawn
    by its fillers) for float32 numbers.

    Its inputs are what data and Input layers hand out, images as [N, H, W, C] with colours as blue, green, red, and
    transformed as the prototxt's transform_param says, which is not in the model. Its outputs are the blobs called
    `outputs`; None: the scores that losses and Accuracy take, which themselves are left to Keras, or else, in a deploy
    net, the blobs that nobody reads. Blobs of four axes are [N, H, W, C], others as in Caffe. A dictionary by blobs'
    names where there are several inputs or outputs. A layer is called as in Caffe, with "." for "/".

    Raises FerError for a prototxt, data or weights that cannot be used, a blob that is not there, and layers that share
    parameters, which layers of Keras do not.
    """
    if phase not in ("TRAIN", "TEST"):
        raise FerError(f"there is no phase {phase!r}; take TRAIN or TEST")
    net = Net(read_net(prototxt), Context(phase), state=State(phase, tuple(stages)), path=prototxt)
    if weights is not None:
        copy_weights(net, weights, complete=True)
    _check_alone(net)
    wanted = list(outputs) if outputs is not None else _scores(net)
    missing = [name for name in wanted if name not in net.shapes]
    if missing:
        raise FerError(f"{prototxt}: there is no blob {missing[0]!r}; there are {', '.join(net.shapes)}")
    nodes, needed = _needed(net.nodes, wanted)
    wired = Wired(nodes, net.shapes, Wiring(phase), wanted, bare=False)
    for variable, layer, index in wired.wiring.variables:
        variable.assign(layer.blobs[index].variable)
    if not wired.outputs:
        raise FerError(f"{prototxt}: {', '.join(wanted)}: no layer makes it")
    made = {name: wired.outputs[name] for name in wanted if name in wired.outputs}
    inputs = {name: symbol for name, symbol in wired.wiring.inputs.items() if name in needed or name not in net.shapes}
    return keras.Model(_single(inputs), _single(made), name=wired.wiring.name(net.name or "net"))


def _check_alone(net: Net) -> None:
    owners: dict[int, str] = {}
    for node in net.nodes:
        for blob in node.layer.blobs:
            owner = owners.setdefault(id(blob), node.name)
            if owner != node.name:
                node.layer.fail(f"shares a parameter with layer '{owner}', which layers of Keras cannot")


def _scores(net: Net) -> list[str]:
    """What losses and Accuracy judge, by the blob's own name; else the net's outputs."""
    judged = [node.bottoms[0] for node in net.nodes if isinstance(node.layer, Loss | Accuracy)]
    split = {top: node.bottoms[0] for node in net.nodes if node.type == "Split" for top in node.tops}
    return list(dict.fromkeys(split.get(name, name) for name in judged)) or [name for name, _ in net.outputs]


def _needed(nodes: Sequence[Node], wanted: Sequence[str]) -> tuple[list[Node], set[str]]:
    """The nodes that the blobs depend on, and all blobs that these read or are."""
    blobs, kept = set(wanted), []
    for node in reversed(nodes):
        if not blobs.isdisjoint(node.tops):
            kept.append(node)
            blobs.update(node.bottoms)
    return kept[::-1], blobs


def _single(symbols: dict[str, object]) -> object:
    return next(iter(symbols.values())) if len(symbols) == 1 else symbols
