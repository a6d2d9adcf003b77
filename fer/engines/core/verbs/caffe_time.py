"""`time`: what `caffe time` does, with its lines."""

import time
from pathlib import Path

from fer.engines.core.framework import Backend
from fer.engines.core.log import Log
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State


def benchmark(backend: Backend, model: Path, iterations: int, *, state: State, log: Log | None = None) -> None:
    """Log the mean milliseconds of each layer's forward and backward pass, and of the whole net's."""
    log = log or Log()
    check_count(iterations)
    net = backend.net(read_net(model), state, path=model)
    names = [node.name for node in net.nodes]
    log.info("Performing Forward", "caffe.cpp:356")
    loss = net.evaluate()[0]
    log.info(f"Initial loss: {float(net.host(loss)):.6g}", "caffe.cpp:361")
    log.info("Performing Backward", "caffe.cpp:362")
    net.time_pass(dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0))
    log.info("*** Benchmark begins ***", "caffe.cpp:369")
    log.info(f"Testing for {iterations} iterations.", "caffe.cpp:370")
    forward, backward = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    begin = time.perf_counter()
    for number in range(iterations):
        start = time.perf_counter()
        net.time_pass(forward, backward)
        taken = 1000 * (time.perf_counter() - start)
        log.info(f"Iteration: {number + 1} forward-backward time: {taken:.6g} ms.", "caffe.cpp:398")
    total = 1000 * (time.perf_counter() - begin)
    log.info("Average time per layer: ", "caffe.cpp:401")
    for name in names:
        log.info(f"{name:>10}\tforward: {forward[name] / iterations:.6g} ms.", "caffe.cpp:404")
        log.info(f"{name:>10}\tbackward: {backward[name] / iterations:.6g} ms.", "caffe.cpp:407")
    log.info(f"Average Forward pass: {sum(forward.values()) / iterations:.6g} ms.", "caffe.cpp:412")
    log.info(f"Average Backward pass: {sum(backward.values()) / iterations:.6g} ms.", "caffe.cpp:414")
    log.info(f"Average Forward-Backward: {total / iterations:.6g} ms.", "caffe.cpp:416")
    log.info(f"Total Time: {total:.6g} ms.", "caffe.cpp:418")
    log.info("*** Benchmark ends ***", "caffe.cpp:419")


def check_count(iterations: int) -> None:
    """Raises FerError unless it is 1 or more."""
    if iterations < 1:
        raise FerError(f"--iterations is {iterations}; it must be 1 or more")
