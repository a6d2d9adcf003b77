"""A net that learns from votes: its softmax losses taken of the votes' shares, in layers that every Caffe has."""

from __future__ import annotations

import json

from fer.errors import FerError
from fer.formats.database import VOTES
from fer.formats.tokens import layer_blocks
from fer.nets.states import State, taking_part
from fer.schema import caffe_pb2

_TRAIN = "include { phase: TRAIN }"
_DATA = """
# Of each image of train_lmdb, in its order, the classes' shares of the votes.
layer {{ name: "votes" type: "Data" top: "votes" {train}
  data_param {{ source: {source} batch_size: {batch} backend: LMDB }} }}
layer {{ name: "votes/flat" type: "Flatten" bottom: "votes" top: "votes/flat" {train} }}
"""
_LOSS = """
# As SoftmaxWithLoss, of shares in place of labels: the mean over images of -sum share * log probability.
layer {{ name: "{name}/softmax" type: "Softmax" bottom: {scores} top: "{name}/softmax" {train} }}
layer {{ name: "{name}/flat" type: "Flatten" bottom: "{name}/softmax" top: "{name}/flat" {train} }}
layer {{ name: "{name}/log" type: "Log" bottom: "{name}/flat" top: "{name}/log" log_param {{ shift: 1e-12 }} {train} }}
layer {{ name: "{name}/shares" type: "Eltwise" bottom: "{name}/log" bottom: "votes/flat" top: "{name}/shares"
  eltwise_param {{ operation: PROD }} {train} }}
layer {{ name: "{name}/each" type: "Reduction" bottom: "{name}/shares" top: "{name}/each"
  reduction_param {{ axis: 1 }} {train} }}
layer {{ name: "{name}/mean" type: "Reduction" bottom: "{name}/each" top: {top} loss_weight: {weight:.9g}
  reduction_param {{ operation: MEAN coeff: -1 }} {train} }}
"""


def with_votes(text: str, net: caffe_pb2.NetParameter) -> str:
    """The prototxt `text` of a net whose training takes train_votes_lmdb for targets; its tests stay as they are.

    Raises FerError for a net without a Data layer and a SoftmaxWithLoss layer in TRAIN, or with other losses there.
    """
    taking = taking_part(net, State("TRAIN"))
    data = [k for k in taking if net.layer[k].type == "Data"]
    losses = [k for k in taking if net.layer[k].type.endswith("Loss")]
    others = [net.layer[k] for k in losses if net.layer[k].type != "SoftmaxWithLoss"]
    if torn := [k for k in losses if net.layer[k].include and k in taking_part(net, State("TEST"))]:
        raise FerError(f"net {net.name!r}: layer {net.layer[torn[0]].name!r} has rules for both phases; part it in two")
    if others:
        raise FerError(
            f"net {net.name!r}: layer {others[0].name!r} is {others[0].type}; votes replace SoftmaxWithLoss alone"
        )
    if len(data) != 1 or not losses or len(layer_blocks(text)) != len(net.layer):
        raise FerError(
            f"net {net.name!r}: votes want one Data layer and SoftmaxWithLoss in TRAIN, in Caffe's new format"
        )
    blocks = layer_blocks(text)
    images = net.layer[data[0]].data_param
    folder = images.source.rpartition("/")[0]
    source = json.dumps(f"{folder}/train{VOTES}" if folder else f"train{VOTES}", ensure_ascii=False)
    edits = [
        (
            blocks[data[0]][-1].end,
            blocks[data[0]][-1].end,
            _DATA.format(train=_TRAIN, source=source, batch=images.batch_size),
        )
    ]
    for k in losses:
        layer, block = net.layer[k], blocks[k]
        made = _LOSS.format(
            name=layer.name,
            scores=json.dumps(layer.bottom[0], ensure_ascii=False),
            top=json.dumps(layer.top[0], ensure_ascii=False),
            weight=layer.loss_weight[0] if layer.loss_weight else 1,
            train=_TRAIN,
        )
        in_test = k in taking_part(net, State("TEST"))
        # The layer itself stays for the tests; of the training alone it goes.
        start, end = (block[-1].start, block[-1].end) if in_test else (block[0].start, block[-1].end)
        edits.append((start, end, f"include {{ phase: TEST }} }}\n{made}" if in_test else made.lstrip()))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
