"""Disks that are full, have no inodes left, or take no large files: a plain error, and all is well with room."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torture_bench import Bench, Trial, attempt, emptied, last_bytes, tree

ROOM = 1 << 30
LEAST_FILE = 16 << 10  # what is said goes into a file, too


@dataclass(frozen=True)
class Task:
    """Something to do in a folder: what it needs there, the command, and what is wrong with what it has made."""

    name: str
    words: Callable[[Path], Sequence[str | Path]]
    wrong: Callable[[Path], str | None]
    needs: Path | None = None
    makes: Path | None = None


def tasks(bench: Bench) -> list[Task]:
    data, runs = bench.work / "data", bench.work / "runs"
    first = runs / bench.engines[0]

    def trains(engine: str) -> Task:
        def words(folder: Path) -> Sequence[str | Path]:
            run = folder / "runs" / "run"
            resumes = list((run / "snapshots").glob("*.solverstate")) and (run / "run.json").exists()
            if not resumes:
                shutil.rmtree(run, ignore_errors=True)
            return ["train", "--resume", run, "--engine", engine] if resumes else bench.train("run", engine)

        def wrong(folder: Path) -> str | None:
            ended = last_bytes(folder / "runs" / "run") == last_bytes(runs / engine)
            return None if ended else "its last snapshot is not that of the undisturbed training"

        return Task(f"train, {engine}", words, wrong, makes=runs / engine)

    def there(name: str) -> Callable[[Path], str | None]:
        return lambda folder: None if list(folder.glob(name)) else f"no {name}"

    return [
        Task(
            "prepare", lambda folder: bench.prepare(folder / "data"),
            lambda folder: None if tree(folder / "data") == tree(data) else "it is another data directory", makes=data,
        ),
        Task(
            "report", lambda folder: ["report", folder / first.name, "--val-only"],
            there(f"{first.name}/report/report.html"), needs=first, makes=first / "report",
        ),
        Task(
            "average", lambda folder: ["average", folder / first.name, "--last", "2"],
            there(f"{first.name}/snapshots/*_average_*.caffemodel"), needs=first, makes=first / "snapshots",
        ),
        Task(
            "export", lambda folder: ["export", folder / first.name, "--out", folder / "exported"],
            there("exported/model.json"), needs=first, makes=bench.work / "exported",
        ),
        *map(trains, bench.engines),
    ]  # fmt: skip


def small_disks(bench: Bench, count: int) -> Iterator[Trial]:
    """`count` of each kind; of those that need a mount none where there may be none."""
    can_mount = _can_mount(bench.work)
    for kind in ("full disk", "no inodes", "RLIMIT_FSIZE"):
        if kind != "RLIMIT_FSIZE" and not can_mount:
            print(f"{kind}: not tried, as that needs the right to mount a tmpfs", flush=True)
            continue
        several = tasks(bench)
        for number in range(count):
            task = several[number % len(several)]
            with emptied(bench.work / f"disk-{number}") as folder:
                yield Trial(kind, f"{task.name}, {number}", _tried(bench, kind, task, folder, number))


def _tried(bench: Bench, kind: str, task: Task, folder: Path, number: int) -> str | None:
    random_ = bench.random(kind, number)
    files = [path for path in (task.makes or folder).rglob("*") if path.is_file()]
    if kind == "RLIMIT_FSIZE":
        largest = max(path.stat().st_size for path in files)
        limit = {resource.RLIMIT_FSIZE: random_.randrange(LEAST_FILE, max(largest, LEAST_FILE + 1))}
        _fill(task, folder)
        return _judged(task, folder, lambda: None, limit)
    with tmpfs(folder):
        _fill(task, folder)
        used = os.statvfs(folder)
        if kind == "full disk":
            needed = sum(path.stat().st_size + 4096 for path in files)
            taken = (used.f_blocks - used.f_bfree) * used.f_frsize
            option = f"size={(taken + random_.randrange(1, needed)) // 4096 * 4096 + 4096}"
        else:
            option = f"nr_inodes={used.f_files - used.f_ffree + random_.randrange(1, len(files) + 2)}"
        _mount("-o", f"remount,{option}", str(folder))
        more = f"remount,size={ROOM},nr_inodes=100000"
        return _judged(task, folder, lambda: _mount("-o", more, str(folder)))


def _fill(task: Task, folder: Path) -> None:
    if task.needs:
        shutil.copytree(task.needs, folder / task.needs.name, ignore=shutil.ignore_patterns("report", "*_average_*"))


def _judged(
    task: Task, folder: Path, make_room: Callable[[], object], limits: dict[int, int] | None = None
) -> str | None:
    """What is wrong with a command that has too little room, and with the same one when it has enough."""
    command, fault = attempt(task.words(folder), folder, limits)
    if fault is None and command.code == 0:
        return task.wrong(folder)
    make_room()
    if fault is None:
        command, fault = attempt(task.words(folder), folder)
        fault = fault or (command.said if command.code else task.wrong(folder))
        return fault and f"with room again: {fault}"
    return fault


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    _mount("-t", "tmpfs", "-o", f"size={ROOM},nr_inodes=100000", "fer-torture", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, stderr=subprocess.PIPE)


def _can_mount(work: Path) -> bool:
    try:
        with emptied(work / "mount") as folder, tmpfs(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
