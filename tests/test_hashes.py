"""Whether files are those that a record lists: what is remembered of large ones, and when it is not believed."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fer.errors import FerError
from fer.system.hashes import check_file, content_hash, file_hash

DAY_NS = 86_400 * 10**9


def sha256(path: Path) -> str:
    """With nothing remembered."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file large enough to be remembered, which seems a day old, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("fer.system.hashes._SETTLED_NS", -DAY_NS)
    path = tmp_path / "data.mdb"
    path.write_bytes(bytes(2 << 20))
    return path


def entries(large: Path) -> list[Path]:
    folder = large.parent / "cache" / "fer" / "hashes"
    return list(folder.iterdir()) if folder.is_dir() else []


def flip(path: Path) -> None:
    """One bit, and the old times of access and modification."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_a_large_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = file_hash(large)
    assert first == sha256(large) and len(entries(large)) == 1
    monkeypatch.setattr("hashlib.file_digest", None)
    assert file_hash(large) == first


def test_a_bit_flipped_and_the_time_set_back_is_seen(large: Path) -> None:
    before = file_hash(large)
    flip(large)
    assert file_hash(large) == sha256(large) != before


def test_what_has_only_just_changed_is_not_remembered(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.system.hashes._SETTLED_NS", DAY_NS)
    assert file_hash(large) == sha256(large) and not entries(large)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"1 2 3 4 5 " + b"a" * 64 + b"\n"])
def test_a_damaged_entry_is_not_believed(large: Path, content: bytes) -> None:
    before = file_hash(large)
    entries(large)[0].write_bytes(content)
    assert file_hash(large) == before


def test_a_cache_that_others_may_write_is_not_believed(large: Path) -> None:
    before = file_hash(large)
    (entry,) = entries(large)
    entry.write_text(entry.read_text().replace(before, "0" * 64))
    assert file_hash(large) == "0" * 64  # it is what is believed, else
    entry.parent.chmod(0o777)
    assert file_hash(large) == before


def test_a_cache_that_cannot_be_written_is_gone_without(large: Path) -> None:
    (large.parent / "cache").write_text("no folder")
    assert file_hash(large) == sha256(large)


def test_only_so_many_are_kept(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.system.hashes._MOST", 2)
    for number in range(4):
        other = large.with_name(f"{number}.mdb")
        other.write_bytes(bytes([number]) * (1 << 20))
        file_hash(other)
    assert len(entries(large)) == 2


def test_a_file_is_named_with_the_cure(large: Path) -> None:
    known = file_hash(large)
    check_file(large, known, "it was made", "make it again")
    flip(large)
    with pytest.raises(FerError, match=r"data\.mdb has changed since it was made .*\nmake it again"):
        check_file(large, known, "it was made", "make it again")
    large.unlink()
    with pytest.raises(FerError, match=r"data\.mdb is missing\nmake it again"):
        check_file(large, known, "it was made", "make it again")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FerError, match=r"cannot read .*pipe: not a regular file"):
        file_hash(tmp_path / "pipe")


def test_the_hash_of_things_tells_them_apart() -> None:
    different = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (b"a", b"bc", ""),
        (np.zeros(3, np.int8),),
        (np.zeros(3, np.int16),),
    ]
    assert len({content_hash(*parts) for parts in different}) == len(different)
    assert content_hash("a", b"b") == content_hash(b"a", "b")
