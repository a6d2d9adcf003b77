"""What Caffe logs while it sets a net up."""

import math

from fer.engines.core.framework import Net
from fer.engines.core.log import Log
from fer.formats.prototxt import to_text


def log_net(log: Log, net: Net) -> None:
    """Caffe's lines about a net: its parameters, each layer's blobs and shapes, who needs a backward pass, outputs."""
    log.info(f"Initializing net from parameters: \n{to_text(net.filtered)}", "net.cpp:53")
    memory = 0
    for node in net.nodes:
        log.info(f"Creating layer {node.name}", "layer_factory.hpp:77")
        log.info(f"Creating Layer {node.name}", "net.cpp:86")
        for bottom in node.bottoms:
            log.info(f"{node.name} <- {bottom}", "net.cpp:408")
        for i, top in enumerate(node.tops):
            in_place = i < len(node.bottoms) and node.bottoms[i] == top
            name = "(automatic)" if top.startswith("(automatic") else top
            log.info(f"{node.name} -> {name}{' (in-place)' * in_place}", "net.cpp:369" if in_place else "net.cpp:382")
        log.info(f"Setting up {node.name}", "net.cpp:124")
        for top, weight in zip(node.tops, node.loss_weights, strict=True):
            shape = net.shapes[top]
            count = math.prod(shape)
            memory += 4 * count
            log.info(f"Top shape: {''.join(f'{size} ' for size in shape)}({count})", "net.cpp:131")
            if weight:
                log.info(f"    with loss weight {weight:g}", "net.cpp:134")
        log.info(f"Memory required for data: {memory}", "net.cpp:139")
    _log_backward(log, net)
    for name, _ in net.outputs:
        log.info(f"This network produces output {name}", "net.cpp:244")
    log.info("Network initialization done.", "net.cpp:257")


def _log_backward(log: Log, net: Net) -> None:
    blob_shapes = net.blob_shapes
    needing: set[str] = set()
    needs = {}
    for node in net.nodes:
        specs = node.param.param
        rates = [specs[i].lr_mult if i < len(specs) else 1.0 for i in range(len(blob_shapes.get(node.name, ())))]
        if node.type == "BatchNorm":
            rates = []
        needs[node.name] = any(rate > 0 for rate in rates) or any(
            bottom in needing and not cut for bottom, cut in zip(node.bottoms, node.cut, strict=True)
        )
        needing.update(node.tops if needs[node.name] else ())
    under_loss: set[str] = set()
    for node in reversed(net.nodes):
        counts = any(node.loss_weights) or not under_loss.isdisjoint(node.tops)
        if counts:
            under_loss.update(node.bottoms)
        if counts and needs[node.name]:
            log.info(f"{node.name} needs backward computation.", "net.cpp:200")
        else:
            log.info(f"{node.name} does not need backward computation.", "net.cpp:202")
