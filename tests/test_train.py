"""fer train and --resume with a fake engine: the run directory, faults, signals, what is refused."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
import training
from training import assert_intact, assert_nothing_left, resume, train
from training import train_small as start

from fer.errors import FerError, UsageError
from fer.formats.database import encode_datum
from fer.formats.prototxt import read_solver
from fer.runs.record import StartWeights
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash
from fer.system.records import read_record, write_record
from fer.training import events

pytestmark = pytest.mark.usefixtures("fake")


# ---- a whole training


def test_a_training_leaves_what_it_was_made_of(tmp_path: Path, data: Path) -> None:
    told: list[object] = []
    run = start(tmp_path, data, progress=told.append)
    assert run.dir == tmp_path / "runs" / "net-solver"
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60]
    assert_intact(run)
    info = json.loads((run.dir / "run.json").read_text())
    assert (info["state"], info["iteration"], info["max_iter"], info["seed"]) == ("finished", 60, 60, 1)
    assert info["prototxt_sha256"] == {p.name: file_hash(p) for p in (run.solver, run.net, run.deploy)}
    assert info["data"]["files"][str(data / "train_lmdb" / "data.mdb")] == file_hash(data / "train_lmdb" / "data.mdb")
    assert info["data"]["title"] == "drawn sample" and info["hardware"]["cores"] >= 1
    assert info["versions"]["fake"] and "to the last printed digit" in info["repeatable"]
    assert "Optimization Done." in run.log.read_text()
    assert 'snapshot_prefix: "snapshots/net"' in run.solver.read_text()
    kinds = [type(event) for event in told]
    assert kinds.count(events.SnapshotSaved) == 3 and kinds.count(events.Validation) == 3
    shown = [event for event in told if isinstance(event, events.Displayed)]
    assert [event.iteration for event in shown] == [*range(0, 60, 5), 60]
    assert shown[3].lr == pytest.approx(0.01) and shown[3].loss == 1.0 and shown[3].max_iter == 60
    assert shown[3].images_per_second and shown[3].images_per_second > 0


def test_a_display_that_is_gone_stops_no_training(tmp_path: Path, data: Path) -> None:
    def broken(event: object) -> None:
        if isinstance(event, events.Displayed):
            raise BrokenPipeError

    assert start(tmp_path, data, progress=broken).record.state == "finished"


def test_the_next_run_gets_the_next_name_and_a_name_is_kept(tmp_path: Path, data: Path) -> None:
    assert [start(tmp_path, data).name for _ in range(2)] == ["net-solver", "net-solver-2"]
    assert start(tmp_path, data, name="mine").name == "mine"
    with pytest.raises(FerError, match="mine exists already"):
        start(tmp_path, data, name="mine")
    for name in ("../mine", ""):
        with pytest.raises(UsageError, match="no plain name"):
            start(tmp_path, data, name=name)


def test_a_run_cut_in_the_making_is_begun_again_under_its_name(tmp_path: Path, data: Path) -> None:
    """As a full disk has left one: nothing but its run.json."""
    record = start(tmp_path, data, name="mine").record
    shutil.rmtree(tmp_path / "runs" / "mine")
    write_record(
        tmp_path / "runs" / "mine" / "run.json", replace(record, prototxt_sha256={}, snapshots={}), parents=True
    )
    with pytest.raises(FerError, match=r"(?s)solver\.prototxt is missing.*begin again: .* --name mine"):
        resume(tmp_path / "runs" / "mine")
    assert start(tmp_path, data, name="mine").record.state == "finished"


def test_a_run_shorter_than_its_snapshot_interval_has_a_snapshot(tmp_path: Path, data: Path) -> None:
    assert [s.iteration for s in start(tmp_path, data, max_iter=7).snapshots()] == [7]


def test_shipped_nets_are_found_by_name(tmp_path: Path, data: Path) -> None:
    run = train("lenet", "s2", data, max_iter=5, engine="fake", runs_dir=tmp_path)
    assert run.dir.name == "lenet-s2" and run.weights_file(5).name == "lenet_iter_5.caffemodel"


# ---- refused before the start, with nothing left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "there is caffe"),
        ({"weights": Path("none.caffemodel")}, "no such file"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(
    tmp_path: Path, data: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(FerError, match=message):
        start(tmp_path, data, **options)
    assert_nothing_left(tmp_path)


def test_a_gpu_that_caffe_cannot_use(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no-gpu")
    with pytest.raises(FerError, match=r"(?s)CPU-only.*take --gpu none"):
        start(tmp_path, data, gpu=0)
    assert_nothing_left(tmp_path)


def with_database(folder: Path, data: Path, records: list[bytes]) -> Path:
    """The small net with a user's own training database of these records; gives the net."""
    with lmdb.open(str(folder / "own"), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for number, record in enumerate(records):
            transaction.put(b"%08d_x.jpg" % number, record)
    return training.write_net(folder, net=training.NET.replace('"train_lmdb"', f'"{folder / "own"}"'))[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (encode_datum(np.zeros((1, 48, 48), np.uint8), 7), r"00000001_x\.jpg: label 7"),
        (
            caffe_pb2.Datum(channels=1, height=48, width=48, data=bytes(2204), label=1).SerializeToString(),
            r"00000001_x\.jpg",
        ),
    ],
    ids=["label out of range", "100 bytes short"],
)
def test_a_faulty_datum_is_refused(tmp_path: Path, data: Path, record: bytes, message: str) -> None:
    good = encode_datum(np.zeros((1, 48, 48), np.uint8), 1)
    net = with_database(tmp_path, data, [good, record, good])
    with pytest.raises(FerError, match=message):
        train(net, tmp_path / "solver.prototxt", data, engine="fake", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


def test_a_truncated_database_is_refused(tmp_path: Path, data: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    os.truncate(copy / "train_lmdb" / "data.mdb", 40_000)
    with pytest.raises(FerError, match=r"train_lmdb/data\.mdb"):
        start(tmp_path, copy)
    assert_nothing_left(tmp_path)


def test_a_snapshot_prefix_cannot_lead_outside(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, snapshot_prefix='"../../outside/x"')
    told: list[object] = []
    run = train(net, solver, data, told.append, engine="fake", max_iter=5, runs_dir=tmp_path / "runs")
    assert events.Notice(run.record.warnings[0]) in told and "'../../outside/x' in the solver: not used" in str(told)
    assert [snapshot.iteration for snapshot in run.snapshots()] == [5] and not (tmp_path.parent / "outside").exists()


def weights(path: Path, name: str = "ip", shape: tuple[int, int] = (7, 4), value: float = 0.5) -> Path:
    blobs = [
        caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=dims), data=np.full(dims, value).ravel())
        for dims in (shape, (7,))
    ]
    net = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name=name, type="InnerProduct", blobs=blobs)])
    path.write_bytes(net.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_bytes(weights(path).read_bytes()[:-20]), "cut short"),
        (lambda path: weights(path, shape=(7, 5)), "shape mismatch"),
        (lambda path: weights(path, name="fc8"), "nothing would be loaded"),
        (lambda path: weights(path, value=np.nan), "nan or inf"),
    ],
    ids=["empty", "cut", "another shape", "another net", "nan"],
)
def test_weights_are_checked(tmp_path: Path, data: Path, make: Callable[[Path], object], message: str) -> None:
    make(tmp_path / "w.caffemodel")
    with pytest.raises(FerError, match=message):
        start(tmp_path, data, weights=tmp_path / "w.caffemodel")
    assert_nothing_left(tmp_path)


def test_weights_are_handed_to_the_engine(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    path = weights(tmp_path / "w.caffemodel")
    run = start(tmp_path, data, weights=path, max_iter=5)
    assert run.record.weights == StartWeights(str(path), file_hash(path))
    asked = [json.loads(line) for line in (tmp_path / "argv").read_text().splitlines()]
    assert [argv[-2:] for argv in asked if argv[0] == "train"] == [["--weights", str(path)]]


# ---- what goes wrong while it trains


@pytest.mark.parametrize(
    ("fault", "message", "left"),
    [
        ("nan", "loss is nan at iteration 10.*lower base_lr", []),
        ("explode", "loss has exploded to 1e[+]06 at iteration 15", []),
        ("fatal", "Fake gave up.*Fake says: Check failed: error == cudaSuccess .2 vs. 0.  out of memory", []),
        ("full-disk", r"Fake gave up.*SerializeToOstream.*the disk that holds .*net-solver is full", []),
        ("ours", "Fake stopped with exit code 70.*Fake says: CUDA error: an illegal memory access", []),
        ("killed", "Fake was killed .SIGKILL., most often by the system for want of memory", []),
        ("quiet", "Fake ended without having finished after iteration 10", []),
        ("no-last", r"last snapshot \(iteration 50\) is missing", [20, 40]),
        ("cut-weights", "snapshot of iteration 20 is of no use", []),
        ("cut-state", "snapshot of iteration 20 is of no use.*cut short", []),
        ("empty-weights", "snapshot of iteration 20 is of no use.*0 bytes", []),
        ("nan-weights", "snapshot of iteration 20 is of no use.*nan or inf", []),
    ],
)
def test_faults_become_sentences(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str, left: list[int]
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    with pytest.raises(FerError, match=f"(?s){message}") as raised:
        start(tmp_path, data, max_iter=50)
    text = str(raised.value)
    run = Run(tmp_path / "runs" / "net-solver")
    assert raised.value.exit_code == (70 if fault == "ours" else 1)
    assert str(run.log) in text and len(text.splitlines()) <= 3
    assert run.record.state == "failed"
    assert [s.iteration for s in run.snapshots()] == left
    assert_intact(run)


def test_a_layer_that_the_engine_refuses_has_its_file_and_line(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Python layer of the user's does whose param_str is at fault."""
    monkeypatch.setenv("FAKE_FAULT", "bad-layer")
    with pytest.raises(FerError) as problem:
        start(tmp_path, data)
    line = training.NET.splitlines().index('layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }') + 1
    assert str(problem.value) == (
        f"{tmp_path / 'net.prototxt'}:{line}: layer 'relu': ValueError: param_str: 'rotatoin' is no key"
    )


def test_the_end_is_measured_on_val_where_no_test_falls_on_it(tmp_path: Path, data: Path) -> None:
    """Test intervals are 20: of 5 iterations the only test would be that of the untrained net."""

    def validations(told: list[object]) -> list[int]:
        return [event.iteration for event in told if isinstance(event, events.Validation)]

    told: list[object] = []
    run = start(tmp_path, data, max_iter=5, progress=told.append)
    assert validations(told) == [0, 5]
    known = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    outputs = {"accuracy": known["5"].accuracy, "loss": known["5"].loss}
    assert list(known) == ["5"] and told[-1] == events.Validation(5, outputs, "accuracy")
    told.clear()
    run = resume(run.dir, max_iter=20, progress=told.append)
    assert validations(told) == []  # Caffe's own test
    assert list(read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots) == ["5"]
    told.clear()
    resume(run.dir, max_iter=23, progress=told.append)
    assert validations(told) == [20, 23]


def test_a_net_that_cannot_be_scored_at_its_end_is_trained_all_the_same(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "nan-probs")
    told: list[object] = []
    run = start(tmp_path, data, max_iter=5, progress=told.append)
    assert run.record.state == "finished" and isinstance(told[-1], events.Notice)
    assert re.search(r"at the end could not be measured: .* gives nan", told[-1].text)


def test_warnings_are_those_of_the_training_as_it_goes_on(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, max_iter=100, lr_policy='"step"', gamma=0.1, stepsize=10)
    told: list[object] = []
    run = train(net, solver, data, engine="fake", max_iter=30, runs_dir=tmp_path / "runs", progress=told.append)
    assert run.record.warnings == ()
    told.clear()
    run = resume(run.dir, max_iter=100, progress=told.append)
    assert run.record.warnings == ("lr falls below 1% of base_lr after 30 of 100 iterations",)
    assert told[0] == events.Notice(run.record.warnings[0])
    assert resume(run.dir, max_iter=120).record.warnings == ("lr falls below 1% of base_lr after 30 of 120 iterations",)


# ---- solvers and nets of people's


TAKEN: dict[str, tuple[dict[str, object], str | None]] = {
    "the net in the solver": ({"net_param": "{ layer { } }"}, "net_param in the solver: not used"),
    "nets for each phase": ({"train_net": '"a"', "test_net": '"b"'}, "train_net, test_net in the solver: not used"),
    "snapshots in HDF5": ({"net": '"n"', "snapshot_format": "HDF5"}, "snapshot_format: HDF5 in the solver: not used"),
    "an absolute prefix": ({"net": '"n"', "snapshot_prefix": '"/tmp/snap"'}, "snapshot_prefix '/tmp/snap'"),
    "no test_iter": ({"net": '"n"', "test_iter": None}, "no test_iter: accuracy on val is not measured"),
    "what fer sets itself": (
        {"net": '"n"', "solver_mode": "GPU", "device_id": 3, "debug_info": "false", "solver_type": "SGD"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_fields_of_a_solver_that_a_run_does_not_follow(tmp_path: Path, data: Path, name: str) -> None:
    fields, warning = TAKEN[name]
    net, solver = training.write_net(tmp_path)
    whole = dict(line.split(": ", 1) for line in solver.read_text().splitlines() if not line.startswith("net:"))
    lines = whole | fields
    solver.write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None))
    run = train(net, solver, data, engine="fake", seed=1, max_iter=5, runs_dir=tmp_path / "runs")
    assert [text for text in run.record.warnings if text.startswith(warning)] if warning else not run.record.warnings
    copy = read_solver(run.solver)
    assert copy.net == "train_val.prototxt" and copy.snapshot_prefix == "snapshots/net"
    assert not (copy.train_net or copy.test_net or copy.HasField("net_param") or copy.HasField("snapshot_format"))


PEOPLES = {
    "stages of the test data": (
        training.NET.replace("include { phase: TEST }", 'include { phase: TEST stage: "val" }'),
        {"test_state": '{ stage: "val" }'}),
    "a layer without a name": (training.NET.replace('name: "relu"', ""), {}),
    "two layers of one name": (training.NET.replace('name: "drop"', 'name: "relu"'), {}),
    "cuDNN": (training.NET.replace("stride: 3", "stride: 3 engine: CUDNN"), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", PEOPLES)
def test_nets_that_caffe_takes(tmp_path: Path, data: Path, name: str) -> None:
    text, fields = PEOPLES[name]
    net, solver = training.write_net(tmp_path, net=text, **fields)
    run = train(net, solver, data, engine="fake", seed=1, max_iter=5, runs_dir=tmp_path / "runs")
    assert run.record.state == "finished" and "CUDNN" not in run.net.read_text()


def test_bytes_of_a_net_come_through_to_the_run(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path)
    name = "表情".encode("gbk")
    net.write_bytes(b"# %b\n" % name + training.NET.encode().replace(b"Small", name))
    run = train(net, solver, data, engine="fake", seed=1, max_iter=5, runs_dir=tmp_path / "runs")
    assert b'name: "%b"' % name in run.net.read_bytes() and b'name: "%b"' % name in run.deploy.read_bytes()
    assert resume(run.dir, max_iter=10).record.iteration == 10


def test_the_weights_that_a_solver_names_are_where_it_starts(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, weights='"start.caffemodel"')
    with pytest.raises(FerError, match=r"weights in the solver: .*start\.caffemodel: no such file"):
        train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs")
    weights(tmp_path / "start.caffemodel")
    run = train(net, solver, data, engine="fake", seed=1, max_iter=5, runs_dir=tmp_path / "runs")
    assert run.record.weights is not None and run.record.weights.file == str(tmp_path / "start.caffemodel")
    assert not read_solver(run.solver).weights


def test_a_net_for_use_is_no_net_to_train(tmp_path: Path, data: Path) -> None:
    deploy = 'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 1 dim: 48 dim: 48 } } }'
    net, solver = training.write_net(tmp_path, net=deploy)
    with pytest.raises(FerError, match=r"it is a net for use \(deploy\): give the train_val\.prototxt"):
        train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs")


@pytest.mark.parametrize("engine", ["pytorch", pytest.param("caffe", marks=pytest.mark.full)])
def test_a_fault_of_the_test_net_has_the_line_of_the_user_s_file(tmp_path: Path, data: Path, engine: str) -> None:
    text = training.NET.replace('top: "accuracy"', 'top: "accuracy" accuracy_param { top_k: 8 }')
    net, solver = training.write_net(tmp_path, net=text)
    line = text[: text.index("top_k")].count("\n") + 1
    with pytest.raises(FerError, match=rf"^{net}:{line}: layer 'accuracy': \w+ says: .*top_k must be"):
        train(net, solver, data, engine=engine, runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


def test_a_name_that_hands_over_parameters_of_another_shape(tmp_path: Path, data: Path) -> None:
    wider = training.NET[training.NET.index('layer { name: "hidden"') : training.NET.index('layer { name: "drop"')]
    text = training.NET.replace(wider, wider.replace("bottom", "include { phase: TRAIN } bottom") + wider.replace(
        "bottom", "include { phase: TEST } bottom").replace("24", "12"))  # fmt: skip
    net, solver = training.write_net(tmp_path, net=text)
    with pytest.raises(FerError, match=rf"^{net}:\d+: layer '(hidden|ip)' has parameters of other shapes in TRAIN"):
        train(net, solver, data, engine="pytorch", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)
