"""The files of our engines: weights and states whole or not at all, read back the same, damage noticed."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from frameworks import each_engine, framework
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solver_cases import quiet_solver, write_solver

from fer.engines.core.framework import Net
from fer.engines.core.weights import (
    SolverState,
    copy_weights,
    model_proto,
    read_model,
    read_state,
    write_model,
    write_state,
)
from fer.engines.interpreter import find_caffe
from fer.errors import FerError
from fer.formats.blobs import blob_shape, from_blob, is_legacy, same_shape, to_blob
from fer.nets.states import State
from fer.schema import caffe_pb2

NET = """
name: "Files"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 3
  weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" param { name: "w" } inner_product_param {
  num_output: 4 weight_filler { type: "gaussian" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "conv" top: "ip2" param { name: "w" } inner_product_param {
  num_output: 4 weight_filler { type: "gaussian" } } }
"""


def make_net(text: str = NET, seed: int = 1, engine: str = "pytorch") -> Net:
    parsed = text_format.Parse(text, caffe_pb2.NetParameter())
    return framework(engine).on([], "fp32").net(parsed, State("TRAIN"), seed=seed)


def arrays(net: Net) -> dict[str, list[np.ndarray]]:
    shapes = net.blob_shapes
    return {name: [net.blob(name, i).copy() for i in range(len(of))] for name, of in shapes.items()}


def same(first: dict[str, list[np.ndarray]], second: dict[str, list[np.ndarray]]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(a, b) for name in first for a, b in zip(first[name], second[name], strict=True)
    )


# ---- blobs


@settings(deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=5, max_side=5)))
def test_a_blob_reads_back_to_the_bit(array: np.ndarray) -> None:
    blob = caffe_pb2.BlobProto()
    blob.ParseFromString(to_blob(array).SerializeToString())
    assert list(blob.shape.dim) == list(array.shape) and len(blob.data) == array.size
    again = from_blob(blob, "here")
    assert again.shape == array.shape and again.tobytes() == array.tobytes()


def test_legacy_shapes_doubles_and_unpacked_numbers_are_read() -> None:
    legacy = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=[1, 2, 3, 4, 5, 6])
    assert from_blob(legacy, "here").shape == (1, 1, 2, 3)
    double = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[2]), double_data=[0.5, 0.25])
    assert from_blob(double, "here").tolist() == [0.5, 0.25]
    huge = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[1]), double_data=[1e300])
    assert from_blob(huge, "here").tolist() == [np.inf]
    unpacked = caffe_pb2.BlobProto()
    unpacked.ParseFromString(b"".join(b"\x2d" + np.float32(v).tobytes() for v in (1, 2)) + b"\x3a\x02\x08\x02")
    assert from_blob(unpacked, "here").tolist() == [1, 2]


def proto(legacy: bool, dims: list[int]) -> caffe_pb2.BlobProto:
    data = np.arange(np.prod(dims))
    if legacy:
        return caffe_pb2.BlobProto(num=dims[0], channels=dims[1], height=dims[2], width=dims[3], data=data)
    return caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=dims), data=data)


# A blob in a file, a parameter's shape, and whether the one is taken for the other.
SHAPES = {
    "equal": (False, [10], [10], True),
    "a one more": (False, [1, 10], [10], False),
    "four numbers that are no legacy": (False, [1, 1, 1, 10], [10], False),
    "legacy vector": (True, [1, 1, 1, 10], [10], True),
    "legacy vector, the wrong way": (True, [10, 1, 1, 1], [10], False),
    "legacy matrix": (True, [1, 1, 2, 5], [2, 5], True),
    "legacy matrix, turned": (True, [1, 1, 5, 2], [2, 5], False),
    "legacy of four": (True, [2, 1, 5, 3], [2, 1, 5, 3], True),
    "legacy for five": (True, [2, 1, 5, 3], [1, 2, 1, 5, 3], False),
    "legacy scalar": (True, [1, 1, 1, 1], [], True),
}


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_shapes_are_compared_by_caffe_s_rule(case: tuple[bool, list[int], list[int], bool]) -> None:
    legacy, stored, shape, taken = case
    blob = proto(legacy, stored)
    assert is_legacy(blob) is legacy and same_shape(blob_shape(blob), shape, legacy=legacy) is taken


@pytest.mark.full
def test_real_caffe_takes_the_same_shapes(tmp_path: Path) -> None:
    cases = []
    for number, (legacy, stored, shape, _) in enumerate(SHAPES.values()):
        dims = " ".join(f"dim: {size}" for size in shape)
        model = f'layer {{ name: "p" type: "Parameter" top: "p" parameter_param {{ shape {{ {dims} }} }} }}'
        weights = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="p", type="Parameter")])
        blob = proto(legacy, stored)
        if legacy:  # the four numbers count more
            blob.shape.dim.append(7)
        weights.layer[0].blobs.append(blob)
        (tmp_path / f"{number}.caffemodel").write_bytes(weights.SerializeToString())
        case = {"model": model, "weights": f"{number}.caffemodel", "phase": "TEST", "backward": False, "tops": ["p"]}
        cases.append(case)
        np.savez(tmp_path / f"case_{number}.npz")
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    caffe = find_caffe()
    oracle = Path(__file__).with_name("caffe_oracle.py")
    subprocess.run([caffe.python, oracle, tmp_path], check=True, env=caffe.environment)
    taken = {name: (tmp_path / f"out_{number}.npz").exists() for number, name in enumerate(SHAPES)}
    assert taken == {name: case[3] for name, case in SHAPES.items()}


@pytest.mark.parametrize("dims", [[3], [2, 2], [-1, -2], [2**40, 2**40], []])
def test_a_shape_that_does_not_fit_its_numbers_is_an_error(dims: list[int]) -> None:
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=dims), data=[1, 2])
    with pytest.raises(FerError, match="does not fit the 2 numbers it holds"):
        from_blob(blob, "here")


# ---- models


@each_engine
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_a_model_reads_back_the_same(tmp_path: Path, suffix: str, engine: str) -> None:
    first, second = make_net(seed=1), make_net(seed=2, engine=engine)
    path = tmp_path / f"net{suffix}"
    write_model(path, first)
    assert not same(arrays(first), arrays(second))
    assert set(copy_weights(second, path)) == {"conv", "bn", "ip", "ip2"}
    assert same(arrays(first), arrays(second))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@each_engine
def test_the_model_has_caffe_s_splits_phases_and_frozen_statistics(engine: str) -> None:
    model = model_proto(make_net(engine=engine))
    assert [layer.name for layer in model.layer] == ["data", "conv", "bn", "conv_bn_0_split", "ip", "ip2"]
    assert all(layer.phase == caffe_pb2.TRAIN and layer.HasField("phase") for layer in model.layer)
    assert [spec.lr_mult for spec in model.layer[2].param] == [0, 0, 0]


@each_engine
def test_what_the_net_lacks_is_passed_over_and_what_it_has_not_been_given_stays(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "net.caffemodel"
    write_model(path, make_net(NET.replace('name: "ip2"', 'name: "other"')))
    net = make_net(seed=2, engine=engine)
    before = arrays(net)
    assert copy_weights(net, path) == ["conv", "bn", "ip"]
    assert np.array_equal(before["ip2"][1], arrays(net)["ip2"][1])


@each_engine
def test_a_model_of_another_net_is_an_error_and_changes_nothing(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "net.caffemodel"
    net = make_net(seed=2, engine=engine)
    before = arrays(net)
    write_model(path, make_net(NET.replace("num_output: 4", "num_output: 5")))
    message = r"layer 'ip'; shape mismatch: source param shape is 5 x 48; target param shape is 4 x 48; .*rename"
    with pytest.raises(FerError, match=message):
        copy_weights(net, path)
    write_model(path, make_net(NET.replace('"conv"', '"c"').replace('"bn"', '"b"').replace('"ip', '"p')))
    with pytest.raises(FerError, match="no layer of it has the name of one of the net's"):
        copy_weights(net, path)
    wrong = model_proto(make_net())
    del wrong.layer[1].blobs[1]
    path.write_bytes(wrong.SerializeToString())
    with pytest.raises(FerError, match="Incompatible number of blobs for layer 'conv': 1 for 2"):
        copy_weights(net, path)
    broken = make_net()
    numbers = broken.blob("conv", 0).copy()
    numbers[0, 0, 0, 0] = np.nan
    broken.set_blob("conv", 0, numbers)
    write_model(path, broken)
    with pytest.raises(FerError, match="holds nan or inf"):
        copy_weights(net, path)
    assert same(before, arrays(net))


@each_engine
def test_legacy_models_are_read(tmp_path: Path, engine: str) -> None:
    """V1 layers, and blobs with num, channels, height and width."""
    old = caffe_pb2.NetParameter(name="old")
    layer = old.layers.add(name="ip", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    layer.blobs.add(num=1, channels=1, height=4, width=48, data=range(192))
    layer.blobs.add(num=1, channels=1, height=1, width=4, data=range(4))
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    net = make_net(engine=engine)
    assert copy_weights(net, path) == ["ip"]
    assert net.blob("ip", 0).ravel().tolist() == list(range(192))


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5", ".solverstate", ".solverstate.h5"])
def test_damage_is_one_clear_error(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere, a file is refused, or (a binary one cut between layers) still whole layers; never a traceback."""
    path = tmp_path / f"x{suffix}"
    model = "model" in suffix
    if model:
        write_model(path, make_net())
    else:
        write_state(path, SolverState(3, "m", 1, [np.ones((2, 2), np.float32), np.zeros(3, np.float32)]))
    whole = path.read_bytes()
    read = read_model if model else read_state
    refused = 0
    for end in [0, 1, 5, *range(10, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        path.write_bytes(whole[:end])
        try:
            read(path)
        except FerError:
            refused += 1
    assert refused > 30
    path.unlink()
    with pytest.raises(FerError, match="cannot read"):
        read(path)


@settings(deadline=None, max_examples=150)
@example(b" \x00")  # a net of one input_dim
@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_meet_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name, read in (("m.caffemodel", read_model), ("s.solverstate", read_state), ("m.caffemodel.h5", read_model)):
        (folder / name).write_bytes(data)
        try:
            read(folder / name)
        except FerError as error:
            assert name in str(error) or "layers" in str(error)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match="cannot write"):
        write_model(tmp_path / "file" / "net.caffemodel", make_net())


# ---- states


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_a_state_reads_back_the_same(tmp_path: Path, suffix: str) -> None:
    history = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.float32), np.ones((1,), np.float32)]
    path = tmp_path / f"x{suffix}"
    write_state(path, SolverState(77, "somewhere/x.caffemodel", 4, history))
    state = read_state(path)
    assert (state.iteration, state.learned_net, state.current_step) == (77, "somewhere/x.caffemodel", 4)
    assert all(np.array_equal(a, b) for a, b in zip(state.history, history, strict=True))


def test_hdf5_files_are_laid_out_as_caffe_s(tmp_path: Path) -> None:
    quiet_solver(write_solver(tmp_path, "run", snapshot_format="HDF5")).step(10)
    with h5py.File(tmp_path / "run_iter_10.caffemodel.h5") as file:
        assert list(file) == ["data"] and file["data/conv/0"].shape == (6, 1, 3, 3)
        # A shared parameter lies with its owner only; every layer has a group.
        assert list(file["data/two"]) == ["0", "1"] and list(file["data/three"]) == [] and "tanh" in file["data"]
    with h5py.File(tmp_path / "run_iter_10.solverstate.h5") as file:
        assert set(file) == {"iter", "learned_net", "current_step", "history"} and file["iter"].shape == (1,)
        assert len(file["history"]) == 8
