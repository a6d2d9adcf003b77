"""A run's own test_iter and test batch_size, set so that each test sees every image of its data once."""

from collections.abc import Iterable
from dataclasses import replace

from fer.nets.shapes import ShapeError
from fer.nets.states import State
from fer.schema import caffe_pb2
from fer.training.preflight.sizes import net_shapes
from fer.training.preflight.sources import Sources
from fer.training.preflight.subject import Subject
from fer.training.warnings import nearest_divisor


def cover_tests(subject: Subject, sources: Sources) -> tuple[Subject, tuple[str, ...]]:
    """The subject with tests that cover their data exactly, and a sentence for each that did not as written.

    The written batch_size stays where it divides the number of images. A batch that the training shares, or that
    another layer counts on, stays too, and so may leave a test uneven, as data layers of different sizes do.
    """
    sentences, written = [], subject.net
    for number, (state, iterations) in enumerate(zip(subject.tests, subject.solver.test_iter, strict=True)):
        layers = [i for i in subject.positions(state) if sources.image_count(subject.net.layer[i])]
        sizes = {(_batch(subject.net.layer[i]), sources.image_count(subject.net.layer[i])) for i in layers}
        if len(sizes) != 1:
            continue
        ((batch, count),) = sizes
        if not batch or not count or iterations * batch == count:
            continue
        fitting = batch if count % batch == 0 else nearest_divisor(count, batch)
        changed = _with_test(subject, number, layers, fitting, count // fitting)
        if fitting == batch or _may_change(changed, sources, state, layers):
            subject, before = changed, _batch(written.layer[layers[0]])
            sentences.append(
                f"each test covers its {count:,} images once, with test_iter {count // fitting} and batch_size "
                f"{fitting} in place of {iterations} and {before} ({iterations * before:,} images)"
            )
    return subject, tuple(sentences)


def _batch(layer: caffe_pb2.LayerParameter) -> int:
    return layer.data_param.batch_size if layer.type == "Data" else layer.image_data_param.batch_size


def _with_test(subject: Subject, number: int, layers: Iterable[int], batch: int, iterations: int) -> Subject:
    solver, net = caffe_pb2.SolverParameter(), caffe_pb2.NetParameter()
    solver.CopyFrom(subject.solver)
    net.CopyFrom(subject.net)
    solver.test_iter[number] = iterations
    for i in layers:
        layer = net.layer[i]
        (layer.data_param if layer.type == "Data" else layer.image_data_param).batch_size = batch
    return replace(subject, solver=solver, net=net)


def _may_change(changed: Subject, sources: Sources, state: State, layers: Iterable[int]) -> bool:
    """Whether the layers feed tests alone, and the net is known to fit together with their new batch."""
    if not set(layers).isdisjoint(changed.positions(changed.train)):
        return False
    try:
        return net_shapes(changed, sources, state) is not None
    except ShapeError:
        return False
