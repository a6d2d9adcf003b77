"""Helper processes: order, exceptions, death on either side."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer.errors import FerError
from fer.system.workers import Workers

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_come_in_order(count: int) -> None:
    with Workers(count) as workers:
        assert list(workers.map(abs, range(-200, 0))) == list(range(200, 0, -1))
        assert list(workers.map(abs, [])) == []
        assert list(workers.map(len, [b"x" * 3_000_000] * 5)) == [3_000_000] * 5
        assert [len(made) for made in workers.map(bytes, [3_000_000] * 5)] == [3_000_000] * 5


@pytest.mark.parametrize("count", [0, 2])
def test_exception_comes_at_its_items_turn(count: int) -> None:
    found = []
    with pytest.raises(ValueError, match="bad"), Workers(count) as workers:
        for value in workers.map(int, ["1", "2", "3", "bad", "5", "worse"]):
            found.append(value)
    assert found == [1, 2, 3]


def test_memory_is_bounded() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for taken in range(1, 1001):
            yield -taken

    with Workers(1) as workers:
        for done, _ in enumerate(workers.map(abs, items()), 1):
            assert taken - done <= 10


def test_helper_that_dies_is_an_error_message() -> None:
    with pytest.raises(FerError, match="helper process"), Workers(1) as workers:
        list(workers.map(os._exit, [3]))


def test_printing_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers(1) as workers:
        assert list(workers.map(print, ["hello"])) == [None]
    assert capfd.readouterr().err == "hello\n"


PARENT = """
import os, time
from fer.system.workers import Workers
with Workers(2) as workers:
    print(*(process.pid for process in workers._processes), flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_helpers_end_with_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        helpers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(helpers) == 2 and all(alive(pid) for pid in helpers)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in helpers):
        assert time.monotonic() < deadline, "a helper outlived its parent"
        time.sleep(0.02)
