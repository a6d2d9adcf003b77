"""A net that learns from votes: its softmax losses taken of the votes' shares, in layers that every Caffe has."""

from __future__ import annotations

import json

from google.protobuf import text_format

from fer.errors import FerError
from fer.formats.database import VOTES
from fer.formats.tokens import layer_blocks
from fer.nets.lint import states_named
from fer.nets.states import taking_part
from fer.schema import caffe_pb2

_TRAIN = "include { phase: TRAIN }"
_DATA = """
# Of each image of train_lmdb, in its order, the classes' shares of the votes.
layer {{ name: "votes" type: "Data" top: "votes" {rules}
  data_param {{ source: {source} batch_size: {batch} backend: LMDB }} }}"""
_FLAT = """
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
    taking = sorted({k for state in states_named(net) if state.phase == "TRAIN" for k in taking_part(net, state)})
    tested = {k for state in states_named(net) if state.phase == "TEST" for k in taking_part(net, state)}
    data = [k for k in taking if net.layer[k].type == "Data"]
    losses = [k for k in taking if net.layer[k].type.endswith("Loss")]
    others = [net.layer[k] for k in losses if net.layer[k].type != "SoftmaxWithLoss"]
    if torn := [k for k in losses if net.layer[k].include and k in tested]:
        raise FerError(f"net {net.name!r}: layer {net.layer[torn[0]].name!r} has rules for both phases; part it in two")
    if others:
        raise FerError(
            f"net {net.name!r}: layer {others[0].name!r} is {others[0].type}; votes replace SoftmaxWithLoss alone"
        )
    if not data or not losses or len(layer_blocks(text)) != len(net.layer):
        raise FerError(f"net {net.name!r}: votes want a Data layer and SoftmaxWithLoss in TRAIN, in Caffe's new format")
    blocks = layer_blocks(text)
    edits = []
    for k in data:
        end = blocks[k][-1].end
        edits.append((end, end, _votes_layer(net.layer[k]) + (_FLAT.format(train=_TRAIN) if k == data[-1] else "\n")))
    for k in losses:
        layer, block = net.layer[k], blocks[k]
        made = _LOSS.format(
            name=layer.name,
            scores=json.dumps(layer.bottom[0], ensure_ascii=False),
            top=json.dumps(layer.top[0], ensure_ascii=False),
            weight=layer.loss_weight[0] if layer.loss_weight else 1,
            train=_TRAIN,
        )
        # The layer itself stays for the tests; of the training alone it goes.
        start, end = (block[-1].start, block[-1].end) if k in tested else (block[0].start, block[-1].end)
        edits.append((start, end, f"include {{ phase: TEST }} }}\n{made}" if k in tested else made.lstrip()))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _votes_layer(images: caffe_pb2.LayerParameter) -> str:
    """The layer beside a Data layer that reads the votes on its images, in the same states."""
    folder = images.data_param.source.rpartition("/")[0]
    rules = [f"include {{ {text_format.MessageToString(rule, as_one_line=True)} }}" for rule in images.include]
    source = json.dumps(f"{folder}/train{VOTES}" if folder else f"train{VOTES}", ensure_ascii=False)
    return _DATA.format(rules=" ".join(rules) or _TRAIN, source=source, batch=images.data_param.batch_size)
