"""The outputs of a net that are accuracies, by its layers."""

from pathlib import Path

from fer.errors import FerError
from fer.formats.prototxt import read_net, read_solver
from fer.nets.states import State, filter_net, test_states
from fer.schema import caffe_pb2


def accuracy_outputs(net: caffe_pb2.NetParameter, solver: caffe_pb2.SolverParameter | None = None) -> dict[str, int]:
    """The outputs of the Accuracy layers with their top_k, in the net's order, of the first net that `solver` tests.

    An accuracy that another layer reads is none of the net's outputs: no log shows it.
    """
    states = test_states(solver) if solver else []
    layers = filter_net(net, states[0] if states else State("TEST")).layer
    read = {bottom for layer in layers for bottom in layer.bottom}
    tops = {layer.top[0]: layer.accuracy_param.top_k for layer in layers if layer.type == "Accuracy" and layer.top}
    return {top: top_k for top, top_k in tops.items() if top not in read}


def read_accuracy_outputs(net: Path, solver: Path) -> dict[str, int]:
    """`accuracy_outputs` of two files; {} where one cannot be read."""
    try:
        return accuracy_outputs(read_net(net), read_solver(solver))
    except FerError:
        return {}
