"""The run directory: names, atomic writes, lock."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_run import make_record

from fer.errors import FerError
from fer.runs.create import create_run, remove_unbegun
from fer.runs.opened import newest_run
from fer.runs.record import HashedFile, SnapshotFiles
from fer.runs.run import Run
from fer.system.hashes import file_hash


def test_a_taken_name_gets_the_next_free_number(tmp_path: Path) -> None:
    names = [create_run(tmp_path, "lenet-s2", make_record()).dir.name for _ in range(3)]
    assert names == ["lenet-s2", "lenet-s2-2", "lenet-s2-3"]


def test_a_name_asked_for_is_taken_or_refused(tmp_path: Path) -> None:
    assert create_run(tmp_path, "mine", make_record(), exact=True).name == "mine"
    with pytest.raises(FerError, match="exists already"):
        create_run(tmp_path, "mine", make_record(), exact=True)


PROTOTXTS = {"solver.prototxt": b"max_iter: 1", "train_val.prototxt": b"layer {}", "deploy.prototxt": b"input: 'x'"}


def test_a_run_is_there_with_all_its_files_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk at any of its files: nothing is left, and the same command makes it once there is room."""
    fsync, left = os.fsync, 0

    def until_full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", until_full)
    for room in range(len(PROTOTXTS) + 1):
        left = room
        with pytest.raises(FerError, match="the disk is full"):
            create_run(tmp_path, "mine", make_record(), PROTOTXTS, exact=True)
        assert not list(tmp_path.iterdir())
    left = 100
    run = create_run(tmp_path, "mine", make_record(), PROTOTXTS, exact=True)
    assert {name: file_hash(run.dir / name) for name in PROTOTXTS} == run.record.prototxt_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("files", "goes"),
    [
        ([], True),
        (["run.json"], True),
        ([".run.json.123"], True),
        (["run.json", *PROTOTXTS, "snapshots/.unverified/solver.prototxt"], True),
        (["run.json", *PROTOTXTS, "train.log"], False),
        (["run.json", "snapshots/net_iter_1.caffemodel"], False),
        (["run.json", "snapshots/.unverified/net_iter_1.caffemodel"], False),
        (["solver.prototxt", "notes.txt"], False),
        ([".git/run.json"], False),
    ],
)
def test_a_run_that_was_cut_in_the_making_gives_way(tmp_path: Path, files: list[str], goes: bool) -> None:
    for name in files:
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    (tmp_path / "a").mkdir(exist_ok=True)
    remove_unbegun(tmp_path / "a")
    assert (tmp_path / "a").exists() is not goes


def test_a_run_that_is_about_to_begin_stays(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    with run.locked():
        remove_unbegun(run.dir)
        assert run.dir.exists()
    (tmp_path / "link").symlink_to(run.dir)
    remove_unbegun(tmp_path / "link")
    assert run.dir.exists()
    remove_unbegun(run.dir)
    assert not run.dir.exists()


def test_two_at_once_get_two_directories(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from made_run import make_record; from fer.runs.create import create_run; "
        "print(create_run(pathlib.Path(sys.argv[1]), 'a', make_record()).dir)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
        )
        for _ in range(4)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert len(answers) == 4


def test_update_is_read_back_by_another(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    run.update(state="finished", seconds=1.5)
    again = Run(run.dir)
    assert (again.record.state, again.record.seconds, again.record.net) == ("finished", 1.5, "lenet")
    assert not list(run.dir.glob(".run.json*"))


def test_snapshots_are_those_listed_and_there_oldest_first(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    for iteration in (1000, 200):
        run.weights_file(iteration).write_bytes(b"w")
    run.state_file(1000).write_bytes(b"s")
    run.weights_file(7).write_bytes(b"nobody verified this")
    files = {
        n: SnapshotFiles(
            HashedFile("", f"snapshots/lenet_iter_{n}.caffemodel"),
            HashedFile("", f"snapshots/lenet_iter_{n}.solverstate"),
        )
        for n in (1000, 200, 3000)
    }
    run.update(snapshots=files)
    assert [(s.iteration, s.state is not None) for s in run.snapshots()] == [(200, False), (1000, True)]


def test_scores_names(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    assert run.scores("val").name == "val.npz"
    assert run.scores("test", ten_crop=True).relative_to(run.dir) == Path("scores/test_tencrop.npz")


def test_no_run_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="no run directory"):
        Run(tmp_path)
    with pytest.raises(FerError, match="no run in"):
        newest_run(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_damaged_run_json_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(FerError, match=r"run\.json"):
        Run(tmp_path)


def test_newest_run(tmp_path: Path) -> None:
    first, second = create_run(tmp_path, "b", make_record()), create_run(tmp_path, "a", make_record())
    os.utime(first.dir / "run.json", (2_000_000_000, 2_000_000_000))
    assert newest_run(tmp_path).dir == first.dir != second.dir


def test_the_lock_is_held_once_and_freed(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    with run.locked(), pytest.raises(FerError, match="being trained"), Run(run.dir).locked():
        pass
    with run.locked():
        pass


def test_the_lock_lives_on_in_a_child_that_inherited_it(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    with run.locked() as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    with pytest.raises(FerError, match="being trained"), run.locked():
        pass
    child.communicate(b"\n")
    with run.locked(patience=60):
        pass


def test_run_json_is_json(tmp_path: Path) -> None:
    run = create_run(tmp_path, "a", make_record())
    assert json.loads((run.dir / "run.json").read_text())["name"] == "a"
