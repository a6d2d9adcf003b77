"""Snapshots are believed only when whole, fitting and finite; wherever a file is cut, it is noticed."""

from pathlib import Path

import numpy as np
import pytest

from fer.errors import FerError
from fer.runs.snapshots import SnapshotFault, check_start_weights, verify_state, verify_weights
from fer.schema import caffe_pb2

SHAPES = {"conv": [[2, 1, 2, 2], [2]], "ip": [[3, 4]]}


def blob(shape: list[int], value: float = 0.25) -> caffe_pb2.BlobProto:
    return caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=shape), data=np.full(shape, value).ravel())


def net(shapes: dict[str, list[list[int]]] = SHAPES, value: float = 0.25) -> caffe_pb2.NetParameter:
    layers = [
        caffe_pb2.LayerParameter(name=name, type="Convolution", blobs=[blob(shape, value) for shape in blobs])
        for name, blobs in shapes.items()
    ]
    return caffe_pb2.NetParameter(name="small", layer=layers)


def state(iteration: int = 500, copies: int = 1) -> caffe_pb2.SolverState:
    history = [blob(shape, 0) for _ in range(copies) for shapes in SHAPES.values() for shape in shapes]
    return caffe_pb2.SolverState(iter=iteration, learned_net="x_iter_500.caffemodel", history=history, current_step=0)


def written(path: Path, message: caffe_pb2.NetParameter | caffe_pb2.SolverState) -> Path:
    path.write_bytes(message.SerializeToString())
    return path


def test_a_whole_pair_passes(tmp_path: Path) -> None:
    weights = verify_weights(written(tmp_path / "w", net()), SHAPES)
    assert verify_state(written(tmp_path / "s", state()), 500, weights, "SGD").iter == 500
    assert verify_state(written(tmp_path / "s", state(copies=2)), 500, weights, "Adam").iter == 500


def test_weights_cut_at_any_byte_are_refused(tmp_path: Path) -> None:
    data = net().SerializeToString()
    for end in range(len(data)):
        (tmp_path / "w").write_bytes(data[:end])
        with pytest.raises(SnapshotFault):
            verify_weights(tmp_path / "w", SHAPES)


def test_a_state_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    data = state().SerializeToString()
    for end in range(len(data)):
        (tmp_path / "s").write_bytes(data[:end])
        with pytest.raises(SnapshotFault):
            verify_state(tmp_path / "s", 500, net(), "SGD")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(SnapshotFault, match="nan or inf"):
        verify_weights(written(tmp_path / "w", net(value=value)), SHAPES)


def test_a_blob_short_of_its_own_shape_is_refused(tmp_path: Path) -> None:
    broken = net()
    del broken.layer[1].blobs[0].data[-1]
    with pytest.raises(SnapshotFault, match="blob 0: its shape 3 x 4 does not fit the 11 numbers it holds"):
        verify_weights(written(tmp_path / "w", broken), SHAPES)


def test_another_iteration_or_solver_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "s", state())
    with pytest.raises(SnapshotFault, match="is of iteration 500"):
        verify_state(path, 600, net(), "SGD")
    with pytest.raises(SnapshotFault, match="keeps 3 histories, where 6"):
        verify_state(path, 500, net(), "Adam")


def test_parameters_shared_by_name_have_one_history(tmp_path: Path) -> None:
    shared = net({"a": [[3, 4]], "b": [[3, 4]]})
    for layer in shared.layer:
        layer.param.add(name="one")
    path = written(tmp_path / "s", caffe_pb2.SolverState(iter=5, history=[blob([3, 4])], current_step=0))
    assert verify_state(path, 5, shared, "SGD")


def test_a_legacy_shape_has_ones_in_front_and_any_other_is_the_parameter_s_own(tmp_path: Path) -> None:
    weights = net()
    biases = weights.layer[0].blobs[1]
    biases.shape.dim[:] = [1, 2]
    with pytest.raises(SnapshotFault, match=r"blob 1 has shape 1 x 2, where the net has 2"):
        verify_weights(written(tmp_path / "w", weights), SHAPES)
    biases.num, biases.channels, biases.height, biases.width = 1, 1, 1, 2
    assert verify_weights(written(tmp_path / "w", weights), SHAPES)


def test_start_weights(tmp_path: Path) -> None:
    path = written(tmp_path / "w", net())
    assert check_start_weights(path, SHAPES) == []
    assert check_start_weights(path, {**SHAPES, "new": [[1]]}) == ["new"]
    with pytest.raises(FerError, match=r"shape mismatch.*to learn it from scratch rename the layer"):
        check_start_weights(path, {"ip": [[7, 4]]})
    with pytest.raises(FerError, match="nothing would be loaded"):
        check_start_weights(path, {"fc8": [[7, 4]]})
    with pytest.raises(FerError, match="nan or inf"):
        check_start_weights(written(path, net(value=np.nan)), SHAPES)
    path.write_bytes(b"")
    with pytest.raises(FerError, match="0 bytes"):
        check_start_weights(path, SHAPES)
