"""`prepare` when something goes wrong: nothing half-made is left, and the old data directory stays."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared import left_overs, run, snapshot
from sample_csv import rows, write_csv

import fer.data.prepare
from fer.data.directory import verify_data
from fer.errors import FerError, UsageError
from fer.system.files import beside


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "fer2013.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sample"


def assert_fails_and_leaves(source: Path, out: Path, match: str, **options: Any) -> None:
    before = snapshot(out) if out.exists() else None
    with pytest.raises(FerError, match=match):
        run(source, out, force=True, **options)
    assert (snapshot(out) if out.exists() else None) == before
    assert left_overs(out) == []


@pytest.mark.parametrize("old", [False, True])
def test_bad_row_leaves_nothing(source: Path, out: Path, tmp_path: Path, old: bool) -> None:
    if old:
        run(source, out)
    bad = tmp_path / "bad.csv"
    bad.write_text(source.read_text().rstrip("\n")[:-1] + "X\n")
    assert_fails_and_leaves(bad, out, r"bad\.csv:43: row 42: Usage 'PrivateTesX'")


def test_fault_while_writing_leaves_the_old(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, out)

    def full(path: Path, mean: np.ndarray) -> None:
        raise FerError("the disk is full")

    monkeypatch.setattr(fer.data.prepare, "write_mean", full)
    assert_fails_and_leaves(source, out, "the disk is full")


def test_empty_splits_and_classes(tmp_path: Path, out: Path) -> None:
    data = [row for row in rows() if row[2] != "PublicTest"]
    assert_fails_and_leaves(write_csv(tmp_path / "a.csv", data), out, "no image with the Usage PublicTest")
    data = [row for row in rows() if row[0] != 1 or row[2] != "Training"]
    assert_fails_and_leaves(write_csv(tmp_path / "b.csv", data), out, "Training has no image of the class Disgust")


def test_disk_space_is_checked_first(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert_fails_and_leaves(source, out, "1 MB free")


def test_source_that_changes_meanwhile(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(path: Path, mean: np.ndarray) -> None:
        path.write_bytes(b"")
        os.utime(source, ns=(0, 0))

    monkeypatch.setattr(fer.data.prepare, "write_mean", touched)
    assert_fails_and_leaves(source, out, "changed while it was read")


@pytest.mark.parametrize("options", [{"jpeg_quality": 0}, {"jpeg_quality": 101}, {"resize": 0}, {"resize": 5000},
                                     {"seed": -1}])  # fmt: skip
def test_options_out_of_range(source: Path, out: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not "):
        run(source, out, **options)
    assert not out.parent.exists()


def test_foreign_directory_is_never_touched(source: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    assert_fails_and_leaves_foreign(source, foreign)
    (foreign / "manifest.json").write_text('{"fer_version": "0"}')
    assert_fails_and_leaves_foreign(source, foreign)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FerError, match="not a directory"):
        run(source, tmp_path / "file")
    with pytest.raises(FerError, match="holds the source"):
        run(source, tmp_path)
    (tmp_path / "empty").mkdir()
    assert not run(source, tmp_path / "empty").up_to_date


def test_votes_and_sources_inside_are_never_removed(source: Path, out: Path, tmp_path: Path) -> None:
    run(source, out)
    for name in ("votes.csv", "again.csv"):
        (out / name).write_text("x")
    with pytest.raises(FerError, match="holds --votes"):
        run(source, out, votes=str(out / "votes.csv"), force=True)
    (tmp_path / "link").symlink_to(out.parent)
    with pytest.raises(FerError, match="holds the source"):
        run(tmp_path / "link" / out.name / "again.csv", tmp_path / "link" / out.name, force=True)
    assert (out / "votes.csv").exists() and (out / "again.csv").exists()


def assert_fails_and_leaves_foreign(source: Path, foreign: Path) -> None:
    before = snapshot(foreign)
    with pytest.raises(FerError, match="not made by `fer prepare`"):
        run(source, foreign, force=True)
    assert snapshot(foreign) == before


def test_without_atomic_exchange_too(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, out)
    monkeypatch.setattr("fer.system.files._exchange", lambda first, second: False)
    assert run(source, out, force=True, jpeg_quality=90).manifest.options.jpeg_quality == 90
    verify_data(out)
    assert left_overs(out) == []


def test_second_process_is_told(source: Path, out: Path) -> None:
    run(source, out)
    with beside(out, "busy"), pytest.raises(FerError, match="another `fer prepare` is writing it"):
        run(source, out)
    assert run(source, out).up_to_date


CHILD = """
import sys, time
from pathlib import Path
from fer.errors import FerError
from fer.data.options import PrepareOptions
from fer.data.prepare import prepare
source, out, stop = sys.argv[1:4]
def told(stage, done, total):
    if stage == stop:
        print("here", flush=True)
        time.sleep(60)
try:
    prepare(Path(source), Path(out), PrepareOptions(jpeg_quality=90), force=True, progress=told)
except FerError as error:
    print(error)
    sys.exit(1)
"""


def child(source: Path, out: Path, stop: str = "", **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, source, out, stop],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent, **options,
    )  # fmt: skip


@pytest.mark.parametrize("stop", ["reading", "writing"])
def test_kill_leaves_the_old_and_the_next_run_cleans_up(source: Path, out: Path, stop: str) -> None:
    run(source, out)
    before = snapshot(out)
    with child(source, out, stop) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        with pytest.raises(FerError, match="another `fer prepare`"):
            run(source, out)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert snapshot(out) == before and len(left_overs(out)) == 1
    assert not run(source, out, force=True).up_to_date
    assert left_overs(out) == []


def limit_file_size() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


def test_file_that_cannot_grow_is_an_error_message(tmp_path: Path, out: Path) -> None:
    source = write_csv(tmp_path / "a.csv", rows())
    with child(source, out, preexec_fn=limit_file_size) as process:
        printed = process.communicate()[0]
    assert process.returncode == 1 and "the disk is full" in printed, printed
    assert not out.exists() and left_overs(out) == []


@pytest.mark.full
def test_full_disk_is_an_error_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real full file system, from the scratch file to the last database, without the check beforehand."""
    disk = tmp_path / "disk"
    disk.mkdir()
    source = write_csv(tmp_path / "a.csv", rows(30))
    monkeypatch.setattr(fer.data.prepare, "_check_disk", lambda *args: None)
    for kib in (256, 1400, 2600, 3600, 5200):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", disk], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        try:
            with pytest.raises(FerError, match="the disk is full"):
                run(source, disk / "data")
            assert [*disk.iterdir()] == []
        finally:
            subprocess.run(["umount", disk], check=True)


def test_bad_row_is_named_with_helper_processes(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fer.data.prepare, "_SMALL_SOURCE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setattr("fer.data.csv_text._BLOCK", 9_973)
    lines = source.read_text().splitlines()
    lines[30] = lines[30].replace(" ", " x", 1)
    lines[40] = ""
    source.write_text("\n".join(lines))
    assert_fails_and_leaves(source, out, r"fer2013\.csv:31: row 30: pixel 2 is 'x")
