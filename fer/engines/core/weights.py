"""Files of weights and solver states, binary and HDF5, as Caffe writes and reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from fer.engines.core.framework import Net, Shape
from fer.errors import FerError
from fer.formats.blobs import from_blob, is_legacy, same_shape, shape_text, to_blob
from fer.formats.hdf5 import need_hdf5, open_hdf5, read_hdf5, read_hdf5_weights
from fer.formats.prototxt import read_weights
from fer.schema import caffe_pb2
from fer.system.files import write_bytes, write_whole

if TYPE_CHECKING:
    import h5py

Weights = dict[str, dict[int, np.ndarray]]
"""float32 blobs by layer name and the blob's place in it; HDF5 keeps a shared blob with its owner only."""


@dataclass
class SolverState:
    """What a .solverstate holds."""

    iteration: int
    learned_net: str
    current_step: int = 0
    history: list[np.ndarray] = field(default_factory=list)
    legacy: bool = False  # whether the history's shapes are those of Caffe before 2015


# ---- reading


@dataclass(frozen=True)
class _Stored:
    """A float32 blob of a file; `legacy`: its shape is that of Caffe before 2015."""

    array: np.ndarray
    legacy: bool = False


def read_model(path: str | Path) -> Weights:
    """The blobs of a .caffemodel or .caffemodel.h5. Raises FerError where it is damaged or has none."""
    return {name: {i: blob.array for i, blob in blobs.items()} for name, blobs in _read_stored(path).items()}


def _read_stored(path: str | Path) -> dict[str, dict[int, _Stored]]:
    if str(path).endswith(".h5"):
        model = read_hdf5_weights(path)
        weights = {name: {i: _Stored(array) for i, array in blobs.items()} for name, blobs in model.items()}
    else:
        weights = {
            layer.name: {
                i: _Stored(from_blob(blob, f"{path}: layer '{layer.name}', blob {i}"), is_legacy(blob))
                for i, blob in enumerate(layer.blobs)
            }
            for layer in read_weights(path).layer
            if layer.blobs
        }
    if not weights:
        raise FerError(f"{path} holds no layer with parameters")
    return weights


def copy_weights(net: Net, path: str | Path, *, complete: bool = False) -> list[str]:
    """Copy the blobs of every layer whose name the net has. Returns those names.

    Raises FerError for a wrong shape or number of blobs, values that are not finite, and where no name matches; where
    the weights are to be `complete`, also for a layer that they lack (a file cut between two layers parses).
    """
    weights = _read_stored(path)
    targets = net.blob_shapes
    matching = [name for name in weights if name in targets]
    if not matching and targets:
        raise FerError(
            f"{path}: no layer of it has the name of one of the net's, so nothing would be loaded\n"
            f"its layers: {', '.join(weights)}; the net's: {', '.join(targets)}"
        )
    owned = {learned.owner for learned in net.learnable}  # HDF5 keeps a shared parameter with its owner only
    missing = [name for name in targets if name not in weights and (name in owned or not str(path).endswith(".h5"))]
    if complete and missing:
        raise FerError(f"{path} has no layer '{missing[0]}', which the net has: it is cut short, or of another net")
    for name in matching:
        _check_fit(path, net, name, targets[name], weights[name])
    for name in matching:
        for index, stored in weights[name].items():
            net.set_blob(name, index, stored.array.reshape(targets[name][index]))
    return matching


def _check_fit(path: str | Path, net: Net, layer: str, shapes: list[Shape], found: dict[int, _Stored]) -> None:
    needed = {learned.index for learned in net.learnable if learned.owner == layer}
    if not str(path).endswith(".h5"):
        needed = set(range(len(shapes)))
    if not needed <= set(found) <= set(range(len(shapes))):
        raise FerError(f"{path}: Incompatible number of blobs for layer '{layer}': {len(found)} for {len(shapes)}")
    for index, stored in found.items():
        shape = shapes[index]
        if not same_shape(stored.array.shape, shape, legacy=stored.legacy):
            raise FerError(
                f"{path}: Cannot copy param {index} weights from layer '{layer}'; shape mismatch: "
                f"source param shape is {shape_text(stored.array.shape)}; "
                f"target param shape is {shape_text(shape)}; "
                f"to learn it from scratch rename the layer"
            )
        if not np.isfinite(stored.array).all():
            raise FerError(f"{path}: param {index} of layer '{layer}' holds nan or inf")


def read_state(path: str | Path) -> SolverState:
    """A .solverstate or .solverstate.h5; FerError where it is missing, cut short or of another kind."""
    if str(path).endswith(".h5"):
        return read_hdf5(path, state_from_hdf5)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FerError(f"cannot read {path}: {error.strerror}") from error
    proto = caffe_pb2.SolverState()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise FerError(f"{path} is cut short or is no .solverstate") from error
    # Caffe writes current_step last, so a file without it has lost its end.
    if not proto.HasField("iter") or not proto.HasField("current_step"):
        raise FerError(f"{path} is cut short or is no .solverstate: its iteration or step is missing")
    if not isinstance(proto.learned_net, str):  # no UTF-8, it comes as bytes
        raise FerError(f"{path} is damaged: the name of its weights is no text")
    if proto.iter < 0:
        raise FerError(f"{path} is damaged: its iteration is {proto.iter}")
    history = [from_blob(blob, f"{path}: history {i}") for i, blob in enumerate(proto.history)]
    legacy = any(map(is_legacy, proto.history))
    return SolverState(proto.iter, proto.learned_net, proto.current_step, history, legacy)


def state_from_hdf5(file: h5py.File) -> SolverState:
    """A .solverstate.h5's."""
    learned = file["learned_net"][()]
    history = [np.asarray(file["history"][key], np.float32) for key in sorted(file["history"], key=int)]
    return SolverState(
        int(np.ravel(file["iter"][()])[0]),
        learned.decode() if isinstance(learned, bytes) else str(learned),
        int(np.ravel(file["current_step"][()])[0]),
        history,
    )


# ---- writing


def model_proto(net: Net) -> caffe_pb2.NetParameter:
    """The net as Caffe saves it: every layer (its Splits too) with its phase and float data."""
    model = caffe_pb2.NetParameter(name=net.name)
    total, blob_shapes = 0, net.blob_shapes
    for node in net.nodes:
        layer = model.layer.add()
        layer.CopyFrom(node.param)
        del layer.blobs[:]
        shapes = blob_shapes.get(node.name, [])
        if node.type == "BatchNorm":
            # Caffe freezes the statistics in the layer's own copy of its parameters.
            while len(layer.param) < len(shapes):
                layer.param.add(lr_mult=0)
        for index, shape in enumerate(shapes):
            layer.blobs.append(to_blob(net.blob(node.name, index)))
            total += math.prod(shape) * 4
    if total > 2**31 - 2**20:
        raise FerError(f"{total:,} bytes of weights do not fit a binary .caffemodel; use `snapshot_format: HDF5`")
    return model


def write_model(path: Path, net: Net) -> None:
    """Write the weights, as HDF5 where the name ends in .h5; whole, or not at all."""
    if path.suffix == ".h5":
        need_hdf5(path)
        write_whole(path, lambda stream: _model_to_hdf5(stream, net), parents=True)
    else:
        write_bytes(path, model_proto(net).SerializeToString(), parents=True)


def write_state(path: Path, state: SolverState) -> None:
    """Write the solver's state, as HDF5 where the name ends in .h5; whole, or not at all."""
    if path.suffix == ".h5":
        need_hdf5(path)
        write_whole(path, lambda stream: _state_to_hdf5(stream, state))
        return
    proto = caffe_pb2.SolverState(iter=state.iteration, learned_net=state.learned_net, current_step=state.current_step)
    proto.history.extend(map(to_blob, state.history))
    write_bytes(path, proto.SerializeToString())


def _model_to_hdf5(stream: BinaryIO, net: Net) -> None:
    blob_shapes = net.blob_shapes
    owned = {(learned.owner, learned.index) for learned in net.learnable}
    with open_hdf5(stream, "w") as file:
        data = file.create_group("data")
        for node in net.nodes:
            group = data.create_group(node.name)
            for index in range(len(blob_shapes.get(node.name, ()))):
                if (node.name, index) in owned:
                    group.create_dataset(str(index), data=net.blob(node.name, index))


def _state_to_hdf5(stream: BinaryIO, state: SolverState) -> None:
    with open_hdf5(stream, "w") as file:
        file["iter"] = np.array([state.iteration], np.int32)
        file["learned_net"] = np.bytes_(state.learned_net)
        file["current_step"] = np.array([state.current_step], np.int32)
        history = file.create_group("history")
        for index, array in enumerate(state.history):
            history.create_dataset(str(index), data=array)
