"""Files and directories that appear whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from fer.errors import FerError
from fer.system.files import remove_unfinished, replacement, scratch, write_bytes, write_whole
from fer.system.hashes import file_hash


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_an_older_one_s_place(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        write_bytes(tmp_path / "a" / "b", data, parents=True)
    assert (tmp_path / "a" / "b").read_bytes() == b"new" and names(tmp_path / "a") == ["b"]


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "b: the disk is full"), (errno.EROFS, "cannot write .*b: Read-only")]
)
def test_a_file_that_cannot_be_finished_leaves_the_older_one(tmp_path: Path, number: int, message: str) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError(number, os.strerror(number))

    write_bytes(tmp_path / "b", b"old")
    with pytest.raises(FerError, match=message):
        write_whole(tmp_path / "b", write)
    assert (tmp_path / "b").read_bytes() == b"old" and names(tmp_path) == ["b"]


@pytest.mark.parametrize("left", ["half", "link", "dangling", "pipe"])
def test_what_lies_where_a_file_is_written_is_never_followed_and_goes(tmp_path: Path, left: str) -> None:
    theirs, unfinished = tmp_path / "theirs", tmp_path / ".b.partial"
    theirs.write_bytes(b"precious")
    match left:
        case "half":
            unfinished.write_bytes(b"half of a file")
        case "pipe":
            os.mkfifo(unfinished)
        case _:
            unfinished.symlink_to(theirs if left == "link" else tmp_path / "nowhere")
    write_bytes(tmp_path / "b", b"new")
    assert (tmp_path / "b").read_bytes() == b"new" and theirs.read_bytes() == b"precious"
    assert names(tmp_path) == ["b", "theirs"]


def test_what_killed_processes_were_writing_goes(tmp_path: Path) -> None:
    gone = ["b.partial", "run.json.4194305", "a.png.4194305"]  # no process has a number as high as that
    kept = [f"a.png.{os.getpid()}", "hidden", "gitignore.txt"]
    for name in (*gone, *kept):
        (tmp_path / f".{name}").touch()
    (tmp_path / ".export.partial").mkdir()

    def write(stream: BinaryIO) -> None:
        remove_unfinished(tmp_path)
        stream.write(b"whole")

    write_whole(tmp_path / "c", write)
    assert names(tmp_path) == sorted([".export.partial", "c", *(f".{name}" for name in kept)])


def test_a_scratch_folder_goes_and_those_of_killed_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os; from fer.system.files import scratch\nwith scratch('a-') as it: (it / 'file').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)})
    (left,) = tmp_path.iterdir()
    with scratch("a-") as first:
        assert left.exists()  # it might just have been made
        for folder in (left, first):
            os.utime(folder, (0, 0))
        with scratch("a-"):
            assert not left.exists() and first.exists()
    assert not names(tmp_path)


def test_two_that_write_one_file_at_once_wait_for_each_other(tmp_path: Path) -> None:
    begun = threading.Event()

    def slowly(stream: BinaryIO) -> None:
        begun.set()
        for _ in range(100):
            stream.write(b"first")
            time.sleep(0.001)

    first = threading.Thread(target=write_whole, args=(tmp_path / "b", slowly))
    first.start()
    assert begun.wait(10)
    write_bytes(tmp_path / "b", b"second")
    first.join()
    assert (tmp_path / "b").read_bytes() == b"second" and names(tmp_path) == ["b"]


def test_one_that_waits_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.system.files._WRITES_SECONDS", 0.0)
    with pytest.raises(FerError, match=r"cannot write .*b: another process is writing it"):
        write_whole(tmp_path / "b", lambda stream: write_bytes(tmp_path / "b", b"second"))
    assert not names(tmp_path)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "moved"])
def test_a_directory_takes_an_older_one_s_place(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr("fer.system.files._exchange", lambda first, second: False)
    for name in ("old", "new"):
        with replacement(tmp_path / "a") as partial:
            (partial / name).touch()
    assert names(tmp_path / "a") == ["new"] and names(tmp_path) == ["a"]


def test_a_directory_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(ZeroDivisionError), replacement(tmp_path / "a") as partial:
        (partial / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path / "a") == ["old"] and names(tmp_path) == ["a"]


def test_a_directory_that_cannot_be_made_or_replaced_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FerError, match=r"cannot write .*file"), replacement(tmp_path / "file" / "a"):
        pass
    with pytest.raises(FerError, match=r"cannot write .*a: No such file"), replacement(tmp_path / "a") as partial:
        partial.rmdir()


@pytest.mark.parametrize("name", [".", "..", "a/..", "/"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerError, match="give a name"), replacement(Path(name)):
        pass
    with pytest.raises(FerError, match="give a name"):
        write_bytes(Path(name), b"")
    assert names(tmp_path) == []


def test_what_a_killed_process_left_goes_and_no_two_write_at_once(tmp_path: Path) -> None:
    left = tmp_path / ".a.partial"
    (left / "folder").mkdir(parents=True)
    (left / "half").touch()
    for _ in range(2):
        with replacement(tmp_path / "a") as partial:
            assert partial == left and not names(partial)
            with pytest.raises(FerError, match="another process is writing it"), replacement(tmp_path / "a"):
                pass
        assert names(tmp_path) == ["a"]


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    (tmp_path / "a").symlink_to("theirs")
    with replacement(tmp_path / "a") as partial:
        (partial / "new").touch()
    assert not (tmp_path / "a").is_symlink() and names(tmp_path / "a") == ["new"]
    (tmp_path / ".a.partial").symlink_to("theirs")
    with pytest.raises(FerError, match=r"cannot write .*\.a\.partial"), replacement(tmp_path / "a"):
        pass
    assert names(tmp_path / "theirs") == ["file"] and names(tmp_path) == [".a.partial", "a", "theirs"]


def test_one_who_comes_while_the_old_is_removed_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the exchange the old directory has the fresh one's name: nobody may take it for that."""
    (tmp_path / "a").mkdir()
    told = []

    def rmtree(path: Path, **options: bool) -> None:
        if path.name == ".a.partial" and path.is_dir():
            with pytest.raises(FerError, match="another process") as error, replacement(tmp_path / "a"):
                pass
            told.append(error)
            path.rmdir()

    monkeypatch.setattr("fer.system.files.shutil.rmtree", rmtree)
    with replacement(tmp_path / "a"):
        pass
    assert told and names(tmp_path) == ["a"]


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea")  # FIPS 180-2's own example
    with pytest.raises(FerError, match="cannot read"):
        file_hash(tmp_path / "none")
