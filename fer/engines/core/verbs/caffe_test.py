"""`test`: what `caffe test` does, with its lines."""

from pathlib import Path

from fer.engines.core.framework import Backend
from fer.engines.core.log import Log
from fer.engines.core.training import Value
from fer.engines.core.verbs.caffe_time import check_count
from fer.engines.core.weights import copy_weights
from fer.formats.prototxt import read_net
from fer.nets.states import State


def test(
    backend: Backend, model: Path, weights: str, iterations: int, *, state: State | None = None, log: Log | None = None
) -> dict[str, float]:
    """Log each batch's outputs and their means over `iterations` batches of the TEST net. Returns the means by name."""
    log = log or Log()
    check_count(iterations)
    net = backend.net(read_net(model), state or State("TEST"), path=model)
    for path in weights.split(","):
        copy_weights(net, path, complete=True)
    log.info(f"Running for {iterations} iterations.", "caffe.cpp:281")
    net.run_lean()
    total: list[Value] = []
    loss = 0.0
    for batch in range(iterations):
        batch_loss, values = net.evaluate()
        loss += float(net.host(batch_loss))
        outputs = [net.host(value) for value in values]
        total = [a + b for a, b in zip(total, outputs, strict=True)] if total else outputs
        for (name, _), output in zip(net.outputs, outputs, strict=True):
            for number in output.ravel().tolist():
                log.info(f"Batch {batch}, {name} = {number:.6g}", "caffe.cpp:304")
    log.info(f"Loss: {loss / iterations:.6g}", "caffe.cpp:309")
    means: dict[str, float] = {}
    for (name, weight), output in zip(net.outputs, total, strict=True):
        for number in (output / iterations).ravel().tolist():
            tail = f" (* {weight:.6g} = {weight * number:.6g} loss)" if weight else ""
            log.info(f"{name} = {number:.6g}{tail}", "caffe.cpp:321")
            means.setdefault(name, number)
    return means
