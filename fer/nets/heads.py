"""The layers of a net that make its scores, of as many numbers as there are classes; and other numbers for them."""

from __future__ import annotations

from collections.abc import Sequence

from fer.errors import FerError
from fer.formats.tokens import Token, layer_blocks
from fer.nets.deploy import OF_CLASSES
from fer.nets.lint import states_named
from fer.nets.states import taking_part
from fer.schema import caffe_pb2

_MAKERS = ("InnerProduct", "Convolution", "Deconvolution")


def head_of(net: caffe_pb2.NetParameter, positions: Sequence[int], blob: str) -> list[int]:
    """The InnerProduct or Convolution layers, by position, whose num_output decides how wide a blob is.

    `positions` are those of the layers that take part and come before the blob is read. Layers that change no number of
    channels are looked through; none is found behind a Concat, say.
    """
    for index in range(len(positions) - 1, -1, -1):
        layer = net.layer[positions[index]]
        if blob not in layer.top:
            continue
        if layer.type in _MAKERS:
            return [positions[index]]
        if layer.type == "Eltwise":
            return [head for bottom in layer.bottom for head in head_of(net, positions[:index], bottom)]
        through = len(layer.bottom) == 1 and layer.type not in ("Slice", "Reshape")
        return head_of(net, positions[:index], layer.bottom[0]) if through else []
    return []


def heads(net: caffe_pb2.NetParameter) -> dict[int, list[int]]:
    """Of each layer that compares scores with labels (a loss, an Accuracy), by position, `head_of` its scores."""
    found: dict[int, list[int]] = {}
    for state in states_named(net):
        positions = taking_part(net, state)
        for index, position in enumerate(positions):
            judge = net.layer[position]
            if judge.type in OF_CLASSES and judge.bottom:
                made = head_of(net, positions[:index], judge.bottom[0])
                found[position] = sorted({*found.get(position, []), *made})
    return found


def with_classes(text: str, net: caffe_pb2.NetParameter, classes: int) -> str:
    """The prototxt `text` of a net with `classes` for num_output of the layers that make its scores, and else as it is.

    Raises FerError where it cannot be told which these are.
    """
    of = heads(net)
    if not of:
        raise FerError(f"net {net.name!r} has no loss and no Accuracy: which layer makes the scores?")
    for judge, made in of.items():
        if not made:
            raise FerError(
                f"net {net.name!r}: no InnerProduct or Convolution layer makes the scores of "
                f"{net.layer[judge].name!r} alone: set its size by hand"
            )
    blocks = layer_blocks(text)
    first = len(net.layer) - len(blocks)  # layers made from old `input` fields
    places = {_num_output(net, head, blocks[head - first]) for made in of.values() for head in made}
    for start, end in sorted(places, reverse=True):
        text = f"{text[:start]}{classes}{text[end:]}"
    return text


def _num_output(net: caffe_pb2.NetParameter, head: int, block: Sequence[Token]) -> tuple[int, int]:
    """Where the number of outputs of a layer stands."""
    for name, colon, value in zip(block, block[1:], block[2:], strict=False):
        if name.text == "num_output" and colon.text == ":":
            return value.start, value.end
    raise FerError(f"net {net.name!r}: layer {net.layer[head].name!r} has no num_output")
