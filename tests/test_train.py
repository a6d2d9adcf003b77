"""fer train and --resume with a fake engine: the run directory, faults, signals, what is refused."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
import training

from fer import events
from fer.database import encode_datum
from fer.engines import ENGINES
from fer.errors import FerError, Interrupted, UsageError
from fer.run import Run, sha256
from fer.schema import caffe_pb2
from fer.snapshots import SnapshotKeeper, verify_state, verify_weights
from fer.train import resume, train

SHAPES = {"ip": [[7, 4], [7]]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    for name in ("FER_CAFFE", "FER_CAFFE_PYTHON", "FAKE_FAULT", "FAKE_SECONDS", "FAKE_ARGV"):
        monkeypatch.delenv(name, raising=False)


def start(folder: Path, data: Path, **options: object) -> Run:
    """Train the small net with the fake engine in folder/runs."""
    solver = {k: v for k, v in options.items() if k in ("max_iter_in_solver", "snapshot", "snapshot_format", "base_lr")}
    net, solver_path = training.write_net(folder, **solver)
    rest = {k: v for k, v in options.items() if k not in solver}
    return train(net, solver_path, data, **{"engine": "fake", "seed": 1, "runs_dir": folder / "runs", **rest})  # type: ignore[arg-type]


def assert_intact(run: Run) -> None:
    """Every snapshot listed is whole, hashed, and its state names its weights; nothing unverified is left."""
    for snapshot in run.snapshots():
        assert snapshot.state is not None
        files = run.info["snapshots"][str(snapshot.iteration)]
        assert files["weights"]["sha256"] == sha256(snapshot.weights)
        assert files["state"]["sha256"] == sha256(snapshot.state)
        weights = verify_weights(snapshot.weights, SHAPES)
        state = verify_state(snapshot.state, snapshot.iteration, weights, "SGD")
        assert state.learned_net == f"snapshots/{snapshot.weights.name}"
    named = {path.name for path in (run.dir / "snapshots").glob("*_iter_*")}
    assert named == {path.name for s in run.snapshots() for path in (s.weights, s.state) if path}
    assert not list(run.unverified_dir.glob("*_iter_*"))


# ---- a whole training


def test_a_training_leaves_what_it_was_made_of(tmp_path: Path, data: Path) -> None:
    told: list[object] = []
    run = start(tmp_path, data, progress=told.append)
    assert run.dir == tmp_path / "runs" / "net-solver"
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60]
    assert_intact(run)
    info = json.loads((run.dir / "run.json").read_text())
    assert (info["state"], info["iteration"], info["max_iter"], info["seed"]) == ("finished", 60, 60, 1)
    assert info["prototxt_sha256"] == {p.name: sha256(p) for p in (run.solver, run.net, run.deploy)}
    assert info["data"]["files"][str(data / "train_lmdb" / "data.mdb")] == sha256(data / "train_lmdb" / "data.mdb")
    assert info["data"]["title"] == "drawn sample" and info["hardware"]["cores"] >= 1
    assert info["versions"]["fake"] and "to the last printed digit" in info["repeatable"]
    assert "Optimization Done." in run.log.read_text()
    assert 'snapshot_prefix: "snapshots/net"' in run.solver.read_text()
    kinds = [type(event) for event in told]
    assert kinds.count(events.SnapshotSaved) == 3 and kinds.count(events.Validation) == 3
    shown = [event for event in told if isinstance(event, events.Iteration)]
    assert [event.iteration for event in shown] == [*range(0, 60, 5), 60]
    assert shown[3].lr == pytest.approx(0.01) and shown[3].loss == 1.0 and shown[3].max_iter == 60
    assert shown[3].images_per_second and shown[3].images_per_second > 0


def test_a_display_that_is_gone_stops_no_training(tmp_path: Path, data: Path) -> None:
    def broken(event: object) -> None:
        if isinstance(event, events.Iteration):
            raise BrokenPipeError

    assert start(tmp_path, data, progress=broken).info["state"] == "finished"


def test_the_next_run_gets_the_next_name_and_a_name_is_kept(tmp_path: Path, data: Path) -> None:
    assert [start(tmp_path, data).name for _ in range(2)] == ["net-solver", "net-solver-2"]
    assert start(tmp_path, data, name="mine").name == "mine"
    with pytest.raises(FerError, match="mine exists already"):
        start(tmp_path, data, name="mine")
    with pytest.raises(UsageError, match="no plain name"):
        start(tmp_path, data, name="../mine")


def test_a_run_shorter_than_its_snapshot_interval_has_a_snapshot(tmp_path: Path, data: Path) -> None:
    assert [s.iteration for s in start(tmp_path, data, max_iter=7).snapshots()] == [7]


def test_shipped_nets_are_found_by_name(tmp_path: Path, data: Path) -> None:
    run = train("lenet", "s2", data, max_iter=5, engine="fake", runs_dir=tmp_path)
    assert run.dir.name == "lenet-s2" and run.weights_file(5).name == "lenet_iter_5.caffemodel"


# ---- refused before the start, with nothing left


def assert_nothing_left(folder: Path) -> None:
    assert not (folder / "runs").exists() or not list((folder / "runs").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snapshot_format": "HDF5"}, r"solver\.prototxt:\d+: HDF5 snapshots cannot"),
        ({"engine": "tensorflow"}, "there is caffe"),
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
    with pytest.raises(FerError, match=r"(?s)CPU-only.*leave --gpu out"):
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
    with pytest.raises(FerError, match="snapshot_prefix"):
        train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs")
    assert_nothing_left(tmp_path)


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
    assert run.info["weights"] == {"file": str(path), "sha256": sha256(path)}
    assert json.loads((tmp_path / "argv").read_text().splitlines()[-1])[-2:] == ["--weights", str(path)]


# ---- what goes wrong while it trains


@pytest.mark.parametrize(
    ("fault", "message", "left"),
    [
        ("nan", "loss is nan at iteration 10.*lower base_lr", []),
        ("explode", "loss has exploded to 1e[+]06 at iteration 15", []),
        ("fatal", "Fake gave up.*Caffe says: Check failed: error == cudaSuccess .2 vs. 0.  out of memory", []),
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
    assert str(run.log) in text and len(text.splitlines()) <= 3
    assert run.info["state"] == "failed"
    assert [s.iteration for s in run.snapshots()] == left
    assert_intact(run)


# ---- signals


def reached(folder: Path, iteration: int) -> Callable[[], bool]:
    log = folder / "runs" / "run" / "train.log"
    return lambda: log.exists() and f"Iteration {iteration} " in log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_it_saves_and_goes_on_later(
    tmp_path: Path, data: Path, number: signal.Signals, code: int
) -> None:
    training.write_net(tmp_path, snapshot=0)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.03")
    training.wait_for(reached(tmp_path, 10), process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code
    run = Run(tmp_path / "runs" / "run")
    (saved,) = run.snapshots()
    assert f"stopped at iteration {saved.iteration}, saved {saved.weights}; continue with: fer train --resume" in said
    assert run.info["state"] == "interrupted" and run.info["iteration"] == saved.iteration >= 10
    assert_intact(run)
    run = resume(run.dir)
    assert run.info["state"] == "finished" and [s.iteration for s in run.snapshots()] == [saved.iteration, 60]
    assert run.log.read_text().count("Resuming from") == 1
    assert_intact(run)


def test_hangup_saves_and_goes_on(tmp_path: Path, data: Path) -> None:
    training.write_net(tmp_path, snapshot=0)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.02")
    training.wait_for(reached(tmp_path, 10), process)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0, process.communicate()
    process.communicate()
    run = Run(tmp_path / "runs" / "run")
    assert len(run.snapshots()) == 2 and run.snapshots()[-1].iteration == 60
    assert_intact(run)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, data: Path) -> None:
    training.write_net(tmp_path)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.05")
    training.wait_for(reached(tmp_path, 25), process)
    os.kill(training.child_of(process), signal.SIGSTOP)  # an engine that does not answer
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "stopped at once; newest verified snapshot" in said and "net_iter_20.caffemodel" in said
    assert_intact(Run(tmp_path / "runs" / "run"))


def test_stopped_before_anything_was_saved_it_leaves_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.write_net(tmp_path)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="100")
    training.wait_for(lambda: (tmp_path / "runs" / "run" / "train.log").exists(), process)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    _, said = process.communicate()
    assert process.returncode == 143 and "stopped before anything was saved" in said
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("moment", [3, 19, 22, 41])
def test_killed_at_any_time_it_goes_on_from_a_whole_snapshot(tmp_path: Path, data: Path, moment: int) -> None:
    training.write_net(tmp_path, display=1)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.02")
    training.wait_for(reached(tmp_path, moment), process)
    child = training.child_of(process)
    process.kill()
    os.kill(child, signal.SIGKILL)
    process.communicate()
    run = Run(tmp_path / "runs" / "run")
    try:
        run = resume(run.dir)
    except FerError as error:
        assert moment < 20 and "no intact snapshot" in str(error)
    else:
        assert moment > 18 and run.info["state"] == "finished" and run.snapshots()[-1].iteration == 60
        assert_intact(run)


def test_a_snapshot_the_killed_parent_did_not_take_in_is_taken_in(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data)
    files = run.info["snapshots"].pop("60")
    run.update(state="training", iteration=40, snapshots=run.info["snapshots"])
    for kind in ("weights", "state"):
        path = run.dir / files[kind]["file"]
        path.rename(run.unverified_dir / path.name)
    (run.unverified_dir / "net_iter_50.solverstate").write_bytes(b"\x08\x32")
    (run.unverified_dir / "net_iter_50.caffemodel").write_bytes(b"cut")
    told: list[object] = []
    run = resume(run.dir, progress=told.append)
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60]
    assert any("left out" in event.text for event in told if isinstance(event, events.Warning))
    assert "Resuming from snapshots/net_iter_60.solverstate" in run.log.read_text()
    assert_intact(run)


# ---- resume


def unfinished(folder: Path, data: Path) -> Run:
    """A run that was stopped at iteration 60 of 100."""
    run = start(folder, data)
    text = run.solver.read_text().replace("max_iter: 60", "max_iter: 100")
    run.solver.write_text(text)
    hashes = {**run.info["prototxt_sha256"], "solver.prototxt": sha256(run.solver)}
    run.update(state="interrupted", max_iter=100, prototxt_sha256=hashes)
    return run


def test_resume_goes_on_from_the_newest(tmp_path: Path, data: Path) -> None:
    run = resume(unfinished(tmp_path, data).dir)
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60, 80, 100]
    assert "Resuming from snapshots/net_iter_60.solverstate" in run.log.read_text()


@pytest.mark.parametrize("file", ["weights", "state"])
def test_a_damaged_newest_snapshot_is_left_out(tmp_path: Path, data: Path, file: str) -> None:
    run = unfinished(tmp_path, data)
    path = run.weights_file(60) if file == "weights" else run.state_file(60)
    changed = bytearray(path.read_bytes())
    changed[-9] ^= 1
    path.write_bytes(changed)
    told: list[object] = []
    run = resume(run.dir, progress=told.append)
    assert events.Warning(f"snapshot of iteration 60 left out: {path} changed since it was verified") in told
    assert "Resuming from snapshots/net_iter_40.solverstate" in run.log.read_text()
    assert_intact(run)


@pytest.mark.parametrize("name", ["solver.prototxt", "train_val.prototxt", "deploy.prototxt"])
def test_changed_prototxts_are_refused(tmp_path: Path, data: Path, name: str) -> None:
    run = unfinished(tmp_path, data)
    with (run.dir / name).open("a") as stream:
        stream.write("# another\n")
    with pytest.raises(FerError, match=rf"{re.escape(name)} has changed"):
        resume(run.dir)


def test_changed_data_is_refused(tmp_path: Path, data: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    run = unfinished(tmp_path, copy)
    path = copy / "train_lmdb" / "data.mdb"
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FerError, match=r"train_lmdb/data\.mdb has changed"):
        resume(run.dir)


def test_a_finished_run_is_said_to_be_finished_unless_it_is_made_longer(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data)
    with pytest.raises(FerError, match=r"(?s)is finished \(60 iterations\).*--max-iter"):
        resume(run.dir)
    with pytest.raises(FerError, match="take a larger --max-iter"):
        resume(run.dir, max_iter=50)
    run = resume(run.dir, max_iter=80)
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60, 80]
    assert run.info["max_iter"] == 80 and "max_iter: 80" in run.solver.read_text()
    assert_intact(run)


def test_killed_while_it_takes_a_snapshot_in_nothing_is_lost(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path, data)
    files = run.info["snapshots"].pop("60")
    run.update(snapshots=run.info["snapshots"], iteration=40)
    for kind in ("weights", "state"):
        path = run.dir / files[kind]["file"]
        path.rename(run.unverified_dir / path.name)
    keeper = SnapshotKeeper(run, SHAPES, "SGD")
    steps = 0

    class Killed(BaseException):
        pass

    def killed_at(step: int, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **fields: object) -> object:
            nonlocal steps
            steps += 1
            if steps == step:
                raise Killed
            return function(*args, **fields)

        return call

    for step in range(1, 4):
        steps = 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a kill runs no clean-up
            patch.setattr("fer.snapshots._sync", killed_at(step, lambda path: None))
            patch.setattr("fer.snapshots.write_bytes", killed_at(step, lambda path, data: path.write_bytes(data)))
            with pytest.raises(Killed):
                keeper.adopt(60)
        for leftover in (run.weights_file(60), run.state_file(60)):
            leftover.unlink(missing_ok=True)
    assert steps == 3
    assert keeper.adopt(60) is not None
    assert_intact(run)


def test_two_trainings_do_not_share_a_run(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.train.PATIENCE", 0.1)
    run = unfinished(tmp_path, data)
    with run.locked(), pytest.raises(FerError, match="being trained by another process"):
        resume(run.dir)


# ---- a user's own caffe executable


@pytest.fixture
def own_caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FER_CAFFE names the fake, which does the worker's part too. Gives the record of its arguments."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("FER_CAFFE", str(training.fake_executable(tmp_path / "bin")))
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    monkeypatch.setitem(ENGINES, "caffe", training.fake_with_tool)
    return tmp_path / "argv"


def trainings(record: Path) -> list[list[str]]:
    return [argv for argv in map(json.loads, record.read_text().splitlines()) if argv[0] == "train"]


def test_the_user_s_own_caffe_trains_with_caffe_s_own_flags(tmp_path: Path, data: Path, own_caffe: Path) -> None:
    run = start(tmp_path, data, engine="caffe", gpu=0)
    assert run.info["state"] == "finished"
    assert trainings(own_caffe) == [
        ["train", "--solver", "snapshots/.unverified/solver.prototxt", "--gpu", "0",
         "--sigint_effect", "stop", "--sighup_effect", "snapshot"]
    ]  # fmt: skip
    assert "solver_mode: GPU" in run.solver.read_text()


def test_the_user_s_own_caffe_goes_on_in_mid_epoch_only_when_told(tmp_path: Path, data: Path, own_caffe: Path) -> None:
    run = start(tmp_path, data, engine="caffe")
    with pytest.raises(FerError, match=r"(?s)50 images into an epoch of 70.*--approximate-resume"):
        resume(run.dir, max_iter=80)
    told: list[object] = []
    run = resume(run.dir, max_iter=80, approximate=True, progress=told.append)
    assert run.info["repeatable"].startswith("no:") and any(isinstance(event, events.Warning) for event in told)
    assert trainings(own_caffe)[-1][3:5] == ["--snapshot", "snapshots/net_iter_60.solverstate"]


def test_at_an_epoch_s_end_it_goes_on_without_a_word(tmp_path: Path, data: Path, own_caffe: Path) -> None:
    run = start(tmp_path, data, engine="caffe", max_iter=70)  # 70 x 16 images are 16 epochs of 70
    assert "to the last" in resume(run.dir, max_iter=80).info["repeatable"]


def test_signals_reach_the_user_s_own_caffe_as_the_one_it_saves_on(tmp_path: Path, data: Path) -> None:
    training.write_net(tmp_path, snapshot=0)
    (tmp_path / "bin").mkdir()
    executable = training.fake_executable(tmp_path / "bin")
    process = training.start_training(tmp_path, data, "own", FAKE_SECONDS="0.03", FER_CAFFE=str(executable))
    training.wait_for(reached(tmp_path, 10), process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143 and "stopped at iteration" in said
    assert Run(tmp_path / "runs" / "run").info["state"] == "interrupted"


def test_interrupted_carries_the_exit_code() -> None:
    assert Interrupted("x", signal.SIGTERM).exit_code == 143
