"""What of a solver and its net will run, and is likely not what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fer.nets.policies import early_collapse
from fer.nets.solver_lint import unused_fields
from fer.nets.states import data_layers, filter_net, test_states
from fer.schema import caffe_pb2


def training_warnings(
    solver: caffe_pb2.SolverParameter, net: caffe_pb2.NetParameter, count: Callable[[str], int]
) -> list[str]:
    """A line each; `count` returns the number of images in a database, by its path."""
    return list(dict.fromkeys(_warnings(solver, net, count)))


def _warnings(
    solver: caffe_pb2.SolverParameter, net: caffe_pb2.NetParameter, count: Callable[[str], int]
) -> Iterator[str]:
    yield from unused_fields(solver)
    if collapse := early_collapse(solver):
        yield collapse
    tests = test_states(solver)
    if not tests:
        yield "no test_iter: accuracy on val is not measured while training"
    if not solver.display:
        yield "display is 0: the log will hold no training loss and no learning rate"
    for state, iterations in zip(tests, solver.test_iter, strict=True):
        for layer in data_layers(net, state):
            if uneven := _coverage(iterations, layer.data_param.batch_size, count(layer.data_param.source)):
                yield uneven
        for layer in filter_net(net, state).layer:
            if layer.transform_param.mirror and not layer.bottom:
                yield (
                    f"layer {layer.name!r} mirrors images at random in TEST too: the log's accuracy is of those, the "
                    "report's of the images as they are"
                )


def _coverage(iterations: int, batch: int, count: int) -> str | None:
    """A line if test_iter x batch is not the number of images; else None."""
    seen = iterations * batch
    if seen == count:
        return None
    best = nearest_divisor(count, batch)
    cure = f"batch_size {best} with test_iter {count // best} covers each once"
    what = f"{seen - count:,} are counted twice or more" if seen > count else f"{count - seen:,} are left out"
    return f"test_iter {iterations} x batch_size {batch} = {seen:,} of {count:,} test images: {what}; {cure}"


def nearest_divisor(count: int, batch: int) -> int:
    """Of the divisors of `count` up to three times `batch`, as memory allows that one, the nearest to it as a ratio."""
    divisors = [size for size in range(1, min(count, 3 * batch) + 1) if count % size == 0]
    return min(divisors, key=lambda size: max(size / batch, batch / size))
