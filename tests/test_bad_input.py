"""Files that are missing, cut short, hostile or of another net: one clear error of an engine of ours, nothing left.

What single data layers refuse is in test_pytorch_data_bad.py.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from frameworks import each_engine, framework
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_cases import quiet_solver, torch_net, write_solver

from fer.engines.core import tool
from fer.engines.core.solver import Solver
from fer.errors import FerError
from fer.formats.log import parse_log
from fer.schema import caffe_pb2

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training's solver (run.prototxt) and its snapshot run_iter_10."""
    folder = tmp_path_factory.mktemp("trained")
    solver = quiet_solver(write_solver(folder, "run"))
    solver.step(10)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil; its paths lead into itself."""
    copy = shutil.copytree(trained, tmp_path / "copy")
    for path in copy.glob("*.prototxt"):
        path.write_text(path.read_text().replace(str(trained), str(copy)))
    return copy


def resume(folder: Path) -> Solver:
    return quiet_solver(folder / "run.prototxt", snapshot=folder / "run_iter_10.solverstate")


def files(folder: Path) -> list[tuple[str, int]]:
    """Every file with its size."""
    return sorted((str(p.relative_to(folder)), p.stat().st_size) for p in folder.rglob("*") if p.is_file())


# ---- protobufs cut anywhere


@settings(deadline=None, max_examples=60)
@given(st.data())
@pytest.mark.parametrize("suffix", [".caffemodel", ".solverstate"])
def test_a_snapshot_cut_at_any_byte_is_refused(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    """Also where the cut lies between two layers or histories, so that the file parses."""
    whole = (trained / f"run_iter_10{suffix}").read_bytes()
    at_boundary = data.draw(st.booleans())
    # The layers after the last with parameters may be missing: nothing is lost with them.
    needed = whole.rindex(b"frozen") if suffix == ".caffemodel" else len(whole)
    ends = [end for end in boundaries(whole) if end < needed]
    end = data.draw(st.sampled_from(ends) if at_boundary else st.integers(0, needed - 1))
    spoilt = tmp_path_factory.mktemp("cut")
    for path in trained.glob("run*"):
        shutil.copy(path, spoilt)
    (spoilt / f"run_iter_10{suffix}").write_bytes(whole[:end])
    with pytest.raises(FerError) as raised:
        resume(spoilt)
    assert f"run_iter_10{suffix}" in str(raised.value) or "history" in str(raised.value)
    shutil.rmtree(spoilt)


def boundaries(message: bytes) -> list[int]:
    """Where the top-level fields of a protobuf begin: cut there, the rest parses."""
    ends, position = [], 0
    while position < len(message):
        ends.append(position)
        key, position = varint(message, position)
        length, position = varint(message, position)
        position += length if key & 7 == 2 else 0
    return ends


def varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_spoilt_byte_is_an_error_or_another_number(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spoilt = tmp_path_factory.mktemp("spoilt")
    for path in trained.glob("run*"):
        shutil.copy(path, spoilt)
    path = spoilt / data.draw(st.sampled_from(["run_iter_10.caffemodel", "run_iter_10.solverstate"]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        solver = resume(spoilt)
    except FerError:
        pass
    else:
        assert all(np.isfinite(learned.parameter.detach().numpy()).all() for learned in torch_net(solver.net).learnable)
    shutil.rmtree(spoilt)


# ---- everything that can be wrong, through the command line


def change(folder: Path, name: str, edit: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(edit(path.read_bytes()))


def edit_model(folder: Path, edit: Callable[[caffe_pb2.NetParameter], object]) -> None:
    model = caffe_pb2.NetParameter.FromString((folder / "run_iter_10.caffemodel").read_bytes())
    edit(model)
    (folder / "run_iter_10.caffemodel").write_bytes(model.SerializeToString())


def edit_state(folder: Path, edit: Callable[[caffe_pb2.SolverState], object]) -> None:
    state = caffe_pb2.SolverState.FromString((folder / "run_iter_10.solverstate").read_bytes())
    edit(state)
    (folder / "run_iter_10.solverstate").write_bytes(state.SerializeToString())


def lose_weights(folder: Path) -> None:
    (folder / "run_iter_10.caffemodel").unlink()
    edit_state(folder, lambda state: setattr(state, "learned_net", "gone.caffemodel"))


def layer(model: caffe_pb2.NetParameter, name: str) -> caffe_pb2.LayerParameter:
    return next(layer for layer in model.layer if layer.name == name)


def claim(model: caffe_pb2.NetParameter, *dims: int) -> None:
    layer(model, "conv").blobs[0].shape.dim[:] = dims


def rename_all(model: caffe_pb2.NetParameter) -> None:
    for one in model.layer:
        one.name += "_of_another"


def replace(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


RESUME = ["train", "--solver", "run.prototxt", "--snapshot", "run_iter_10.solverstate"]
FINETUNE = ["train", "--solver", "run.prototxt", "--weights", "run_iter_10.caffemodel"]
START = ["train", "--solver", "run.prototxt"]
PREDICT = ["predict", "--model", "deploy.prototxt", "--weights", "run_iter_10.caffemodel", "--source", "images.npy",
           "--transform", "scale: 0.0078125 mean_value: 128", "--out", "scores.npz"]  # fmt: skip

# What is spoilt, the command, and the words of the error.
BAD: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "empty database": (lambda f: change(f, "lmdb/data.mdb", lambda b: b""), START, r"data\.mdb"),
    "cut database": (lambda f: change(f, "lmdb/data.mdb", lambda b: b[:9000]), START, r"data\.mdb"),
    "no database": (lambda f: shutil.rmtree(f / "lmdb"), START, "lmdb"),
    "no mean": (
        lambda f: replace(f, "run_net.prototxt", "mean_value: 128", 'mean_file: "none.binaryproto"'),
        START, r"none\.binaryproto"),
    "no net": (lambda f: (f / "run_net.prototxt").unlink(), START, r"run_net\.prototxt"),
    "no state": (lambda f: (f / "run_iter_10.solverstate").unlink(), RESUME, r"run_iter_10\.solverstate"),
    "no weights beside": (lambda f: lose_weights(f), RESUME, "names the weights .*not there"),
    "empty weights": (lambda f: change(f, "run_iter_10.caffemodel", lambda b: b""), RESUME, "0 bytes|empty"),
    "empty state": (lambda f: change(f, "run_iter_10.solverstate", lambda b: b""), RESUME, "cut short"),
    "a state for weights": (
        lambda f: shutil.copy(f / "run_iter_10.solverstate", f / "run_iter_10.caffemodel"), FINETUNE, "caffemodel"),
    "weights for a state": (
        lambda f: shutil.copy(f / "run_iter_10.caffemodel", f / "run_iter_10.solverstate"), RESUME, "solverstate"),
    "another shape": (
        lambda f: replace(f, "run_net.prototxt", "num_output: 6", "num_output: 5"), FINETUNE,
        "'conv'; shape mismatch: .*to learn it from scratch rename the layer"),
    "nothing matches": (lambda f: edit_model(f, rename_all), FINETUNE, "nothing would be loaded"),
    "a layer is missing": (
        lambda f: edit_model(f, lambda m: m.layer.remove(layer(m, "frozen"))), RESUME, "frozen"),
    "a layer to predict with is missing": (
        lambda f: edit_model(f, lambda m: m.layer.remove(layer(m, "frozen"))), PREDICT, "frozen"),
    "a blob too few": (lambda f: edit_model(f, lambda m: layer(m, "conv").blobs.pop()), RESUME, "number of blobs"),
    "a number too few": (
        lambda f: edit_model(f, lambda m: layer(m, "conv").blobs[0].data.pop()), RESUME, "does not fit"),
    "nan": (
        lambda f: edit_model(f, lambda m: layer(m, "conv").blobs[0].data.__setitem__(3, float("nan"))),
        RESUME, "nan or inf"),
    "10^12 numbers claimed": (lambda f: edit_model(f, lambda m: claim(m, 10**6, 10**6)), RESUME, "does not fit"),
    "2^64 numbers claimed": (lambda f: edit_model(f, lambda m: claim(m, 2**32, 2**32)), RESUME, "does not fit"),
    "a negative size": (lambda f: edit_model(f, lambda m: claim(m, -6, -9)), RESUME, "does not fit"),
    "a net of 10^12 numbers": (
        lambda f: replace(f, "run_net.prototxt", "num_output: 9", "num_output: 2000000000"), START, "memory|large|big"),
    "a history too few": (lambda f: edit_state(f, lambda s: s.history.pop()), RESUME, "Incorrect length of history"),
    "a history of another shape": (
        lambda f: edit_state(f, lambda s: s.history[0].shape.dim.__setitem__(0, 3)), RESUME, "history 0"),
    "10^12 numbers of history claimed": (
        lambda f: edit_state(f, lambda s: s.history[0].shape.dim.__setitem__(0, 10**12)), RESUME, "history 0"),
    "a negative iteration": (lambda f: edit_state(f, lambda s: setattr(s, "iter", -5)), RESUME, "iteration"),
    "a spoilt sidecar": (lambda f: change(f, "run_iter_10.fer.npz", lambda b: b[:-30]), RESUME, r"fer\.npz is damaged"),
    "no images": (lambda f: (f / "images.npy").unlink(), PREDICT, r"images\.npy"),
    "cut images": (lambda f: change(f, "images.npy", lambda b: b[:-10]), PREDICT, r"images\.npy"),
    "images of objects": (
        lambda f: np.save(f / "images.npy", np.array([{}], dtype=object), allow_pickle=True),
        PREDICT, r"images\.npy"),
    "images of another size": (
        lambda f: np.save(f / "images.npy", np.zeros((2, 1, 9, 9), np.uint8)), PREDICT, "'one'.*(9|shape)"),
}  # fmt: skip

DEPLOY_HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n'


def write_deploy(folder: Path) -> None:
    net = text_format.Parse((folder / "run_net.prototxt").read_text(), caffe_pb2.NetParameter())
    for one in [one for one in net.layer if one.type in ("Data", "Accuracy", "SoftmaxWithLoss")]:
        net.layer.remove(one)
    text = DEPLOY_HEAD + text_format.MessageToString(net)
    (folder / "deploy.prototxt").write_text(text + 'layer { name: "p" type: "Softmax" bottom: "four" top: "prob" }')
    np.save(folder / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))


@each_engine
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_fatal_line_and_nothing_is_written(
    folder: Path, name: str, engine: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, command, message = BAD[name]
    ours = framework(engine)
    write_deploy(folder)
    monkeypatch.chdir(folder)
    assert tool.main(ours, [*command]) == 0 if command is PREDICT else True
    (folder / "scores.npz").unlink(missing_ok=True)
    capfd.readouterr()
    spoil(folder)
    before = files(folder)
    assert tool.main(ours, [*command]) == 1
    said = capfd.readouterr().err.splitlines()
    fatal = [line for line in said if re.match(r"F\d{8} ", line)]
    assert len(fatal) == 1 and re.search(message, fatal[0]), fatal
    assert parse_log(said).fatal and "Traceback" not in "".join(said)
    assert files(folder) == before


@each_engine
def test_the_files_that_are_spoilt_above_are_well_before(
    folder: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deploy(folder)
    monkeypatch.chdir(folder)
    for command in (START, RESUME, FINETUNE, PREDICT):
        assert tool.main(framework(engine), [*command]) == 0, command


@each_engine
def test_weights_that_lack_a_layer_do_not_keep_that_of_the_weights_before(
    folder: Path, engine: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_deploy(folder)
    monkeypatch.chdir(folder)
    shutil.copy("run_iter_10.caffemodel", "whole.caffemodel")
    edit_model(folder, lambda m: m.layer.remove(layer(m, "frozen")))
    both = ["--weights", "whole.caffemodel", "--out", "whole.npz", *PREDICT[PREDICT.index("--weights") :]]
    assert tool.main(framework(engine), [*PREDICT[:3], *both]) == 1
    assert "run_iter_10.caffemodel has no layer 'frozen'" in capfd.readouterr().err
    assert (folder / "whole.npz").is_file() and not (folder / "scores.npz").exists()
    assert tool.main(framework(engine), [*PREDICT, "--weights", "whole.caffemodel"]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told_before_the_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    folder.chmod(0o500)
    try:
        assert tool.main(framework("pytorch"), [*START]) == 1
    finally:
        folder.chmod(0o700)


# ---- no pickle


def test_no_pickle_in_any_engine() -> None:
    """A file of somebody else's must never run code."""
    pattern = re.compile(r"\bpickle\.|import pickle|torch\.(load|save)\b|allow_pickle *= *True|joblib|marshal|\bdill\b")
    sources = list((ROOT / "fer" / "engines").rglob("*.py"))
    assert len(sources) > 40
    for path in sources:
        text = path.read_text()
        assert not pattern.search(text), path
        assert text.count("np.load(") == len(re.findall(r"np\.load\(.*allow_pickle=False", text)), path
