"""fer train stopped, killed and resumed, and a user's own caffe executable, with a fake engine."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import training
from training import assert_intact, assert_nothing_left, resume, wait_for_log
from training import train_small as start

from fer.engines.registry import ENGINES
from fer.errors import FerError, Interrupted
from fer.runs.run import Run
from fer.runs.snapshots import SnapshotKeeper
from fer.system.files import write_bytes
from fer.system.hashes import file_hash
from fer.training import events

pytestmark = pytest.mark.usefixtures("fake")


# ---- what the command line has set


def test_rate_batch_and_epochs_stand_in_the_record_and_are_kept(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data, max_iter=None, epochs=4, lr=0.5, batch_size=7)
    assert (run.record.max_iter, run.record.batch_size) == (40, 7)
    assert run.record.given == {"epochs": 4, "lr": 0.5, "batch_size": 7}
    run = resume(run.dir, epochs=6.5)
    assert (run.record.max_iter, run.record.iteration) == (65, 65)
    assert run.record.given == {"epochs": 6.5, "lr": 0.5, "batch_size": 7}
    assert "base_lr: 0.5" in run.solver.read_text() and "batch_size: 7" in run.net.read_text()
    with pytest.raises(FerError, match="larger --max-iter or --epochs"):
        resume(run.dir, epochs=6)


# ---- signals


@pytest.mark.full
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_it_saves_and_goes_on_later(
    tmp_path: Path, data: Path, number: signal.Signals, code: int
) -> None:
    training.write_net(tmp_path, snapshot=0)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.03")
    wait_for_log(tmp_path, "Iteration 10 ", process)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == code
    run = Run(tmp_path / "runs" / "run")
    (saved,) = run.snapshots()
    assert f"stopped at iteration {saved.iteration}, saved {saved.weights}; continue with: fer train --resume" in said
    assert run.record.state == "interrupted" and run.record.iteration == saved.iteration >= 10
    assert_intact(run)
    run = resume(run.dir)
    assert run.record.state == "finished" and [s.iteration for s in run.snapshots()] == [saved.iteration, 60]
    assert run.log.read_text().count("Resuming from") == 1
    assert_intact(run)


@pytest.mark.full
def test_hangup_saves_and_goes_on(tmp_path: Path, data: Path) -> None:
    training.write_net(tmp_path, snapshot=0)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.02")
    wait_for_log(tmp_path, "Iteration 10 ", process)
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0, process.communicate()
    process.communicate()
    run = Run(tmp_path / "runs" / "run")
    assert len(run.snapshots()) == 2 and run.snapshots()[-1].iteration == 60
    assert_intact(run)


@pytest.mark.full
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, data: Path) -> None:
    training.write_net(tmp_path)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.05")
    wait_for_log(tmp_path, "Iteration 25 ", process)
    os.kill(training.child_of(process), signal.SIGSTOP)  # an engine that does not answer
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "stopped at once; newest verified snapshot" in said and "net_iter_20.caffemodel" in said
    assert_intact(Run(tmp_path / "runs" / "run"))


@pytest.mark.full
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


@pytest.mark.full
@pytest.mark.parametrize("moment", [3, 19, 22, 41])
def test_killed_at_any_time_it_goes_on_from_a_whole_snapshot(tmp_path: Path, data: Path, moment: int) -> None:
    training.write_net(tmp_path, display=1)
    process = training.start_training(tmp_path, data, "fake", FAKE_SECONDS="0.02")
    wait_for_log(tmp_path, f"Iteration {moment} ", process)
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
        assert moment > 18 and run.record.state == "finished" and run.snapshots()[-1].iteration == 60
        assert_intact(run)


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data)
    (run.dir / "snapshots" / f".{run.state_file(40).name}.123").write_bytes(b"half")
    resume(run.dir, max_iter=80)
    assert_intact(run := Run(run.dir))
    assert run.snapshots()[-1].iteration == 80


def test_a_snapshot_the_killed_parent_did_not_take_in_is_taken_in(tmp_path: Path, data: Path) -> None:
    run = start(tmp_path, data)
    *older, last = run.snapshots()
    run.update(
        state="training", iteration=40, snapshots={s.iteration: run.record.snapshots[s.iteration] for s in older}
    )
    for path in last.files:
        path.rename(run.unverified_dir / path.name)
    (run.unverified_dir / "net_iter_50.solverstate").write_bytes(b"\x08\x32")
    (run.unverified_dir / "net_iter_50.caffemodel").write_bytes(b"cut")
    told: list[object] = []
    run = resume(run.dir, progress=told.append)
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60]
    assert any("left out" in event.text for event in told if isinstance(event, events.Notice))
    assert "Resuming from snapshots/net_iter_60.solverstate" in run.log.read_text()
    assert_intact(run)


# ---- resume


def unfinished(folder: Path, data: Path) -> Run:
    """A run that was stopped at iteration 60 of 100."""
    run = start(folder, data)
    text = run.solver.read_text().replace("max_iter: 60", "max_iter: 100")
    run.solver.write_text(text)
    hashes = {**run.record.prototxt_sha256, "solver.prototxt": file_hash(run.solver)}
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
    assert events.Notice(f"snapshot of iteration 60 left out: {path} changed since it was verified") in told
    assert "Resuming from snapshots/net_iter_40.solverstate" in run.log.read_text()
    assert_intact(run)


def test_a_snapshot_whose_files_are_gone_is_made_anew(tmp_path: Path, data: Path) -> None:
    run = unfinished(tmp_path, data)
    run.weights_file(60).unlink()
    run.state_file(60).unlink()
    run = resume(run.dir)
    assert "Resuming from snapshots/net_iter_40.solverstate" in run.log.read_text()
    assert [s.iteration for s in run.snapshots()] == [20, 40, 60, 80, 100] and run.record.state == "finished"
    assert_intact(run)


@pytest.mark.parametrize("name", ["solver.prototxt", "train_val.prototxt", "deploy.prototxt"])
def test_changed_prototxts_are_refused(tmp_path: Path, data: Path, name: str) -> None:
    run = unfinished(tmp_path, data)
    with (run.dir / name).open("a") as stream:
        stream.write("# another\n")
    with pytest.raises(FerError, match=rf"{re.escape(name)} has changed"):
        resume(run.dir)


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_kill_while_the_solver_is_written_anew_stops_no_resume(
    tmp_path: Path, data: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path, data)

    def until_killed(path: Path, content: bytes) -> None:
        if killed == "after":
            write_bytes(path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fer.runs.run.write_bytes", until_killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run.dir, max_iter=120)
    assert resume(run.dir, max_iter=120).record.next_sha256 == {}
    assert Run(run.dir).record.iteration == 120


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
    assert run.record.max_iter == 80 and "max_iter: 80" in run.solver.read_text()
    assert_intact(run)


def test_killed_while_it_takes_a_snapshot_in_nothing_is_lost(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(tmp_path, data)
    *older, last = run.snapshots()
    run.update(iteration=40, snapshots={s.iteration: run.record.snapshots[s.iteration] for s in older})
    for path in last.files:
        path.rename(run.unverified_dir / path.name)
    keeper = SnapshotKeeper(run, training.FAKE_SHAPES, "SGD")
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
            patch.setattr("fer.runs.snapshots.sync", killed_at(step, lambda path: None))
            patch.setattr("fer.runs.snapshots.write_bytes", killed_at(step, lambda path, data: path.write_bytes(data)))
            with pytest.raises(Killed):
                keeper.adopt(60)
        for leftover in (run.weights_file(60), run.state_file(60)):
            leftover.unlink(missing_ok=True)
    assert steps == 3
    assert keeper.adopt(60) is not None
    assert_intact(run)


def test_two_trainings_do_not_share_a_run(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.training.resume.LETS_GO_SECONDS", 0.1)
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
    """Without those of one iteration, by which a Caffe of the user's is asked what it can do."""
    calls = map(json.loads, record.read_text().splitlines())
    return [argv for argv in calls if argv[0] == "train" and argv[2].startswith("snapshots/")]


def test_the_user_s_own_caffe_trains_with_caffe_s_own_flags(tmp_path: Path, data: Path, own_caffe: Path) -> None:
    run = start(tmp_path, data, engine="caffe", gpu=0)
    assert run.record.state == "finished"
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
    assert run.record.repeatable.startswith("no:") and any(isinstance(event, events.Notice) for event in told)
    assert trainings(own_caffe)[-1][3:5] == ["--snapshot", "snapshots/net_iter_60.solverstate"]


def test_at_an_epoch_s_end_it_goes_on_without_a_word(tmp_path: Path, data: Path, own_caffe: Path) -> None:
    run = start(tmp_path, data, engine="caffe", max_iter=70)  # 70 x 16 images are 16 epochs of 70
    assert "to the last" in resume(run.dir, max_iter=80).record.repeatable


def trained_by_own_caffe(tmp_path: Path, data: Path, seconds: str) -> subprocess.Popen[str]:
    """A training by the user's own caffe, so slow an iteration, once it is under way."""
    training.write_net(tmp_path, snapshot=0)
    (tmp_path / "bin").mkdir()
    executable = training.fake_executable(tmp_path / "bin")
    process = training.start_training(tmp_path, data, "own", FAKE_SECONDS=seconds, FER_CAFFE=str(executable))
    wait_for_log(tmp_path, "Iteration 10 ", process)
    return process


@pytest.mark.full
def test_signals_reach_the_user_s_own_caffe_as_the_one_it_saves_on(tmp_path: Path, data: Path) -> None:
    process = trained_by_own_caffe(tmp_path, data, "0.03")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143 and "stopped at iteration" in said
    assert Run(tmp_path / "runs" / "run").record.state == "interrupted"


@pytest.mark.full
def test_killed_with_its_parent_the_user_s_own_caffe_is_stopped(tmp_path: Path, data: Path) -> None:
    process = trained_by_own_caffe(tmp_path, data, "0.5")
    child = training.child_of(process)
    process.kill()
    process.communicate()
    end = time.monotonic() + 20  # of the 25 that are left
    while Path(f"/proc/{child}").exists() and "(zombie)" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_interrupted_carries_the_exit_code() -> None:
    assert Interrupted("x", signal.SIGTERM).exit_code == 143
