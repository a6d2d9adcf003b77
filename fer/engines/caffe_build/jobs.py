"""Compilers at work, several at a time; what is made already is not made again."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fer.errors import FerError
from fer.system.hashes import content_hash
from fer.system.progress import StageProgress

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """A command that writes the file after its `-o`, which is added to it: `made`, or nothing if it fails.

    `cost` is how long it takes, against other jobs; `of` is what else it depends on.
    """

    argv: tuple[str, ...]
    made: Path
    cost: int = 1
    of: str = ""

    @property
    def _stamp(self) -> Path:
        return self.made.with_name(f"{self.made.name}.by")

    def _hash(self, key: str) -> str:
        return content_hash(key, self.of, *self.argv)

    def is_done(self, key: str) -> bool:
        """Whether it was made by this very command, with the same `key`."""
        try:
            return self.made.exists() and self._stamp.read_text(encoding="ascii") == self._hash(key)
        except (OSError, UnicodeError):
            return False

    def finish(self, unfinished: Path, key: str) -> None:
        """Give what was made its name."""
        self._stamp.unlink(missing_ok=True)
        unfinished.replace(self.made)
        self._stamp.write_text(self._hash(key), encoding="ascii")


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def unfinished(self) -> Path:
        return _unfinished(self.job)

    def stop(self) -> None:
        """End the compiler and what it has started, and take its half-written file away."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.said.close()
        self.unfinished.unlink(missing_ok=True)


def _unfinished(job: Job) -> Path:
    return job.made.with_name(f"{job.made.name}.unfinished")


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    environment: Mapping[str, str],
    *,
    at_once: int,
    key: str = "",
    stage: str = "compiling",
    progress: StageProgress | None = None,
) -> None:
    """Run those of the jobs that are not done, in `folder`, so many at a time; `progress` is told of their costs.

    Raises FerError with the compiler's first error where one fails; then, and when interrupted, the others are ended.
    """
    waiting = [job for job in jobs if not job.is_done(key)]
    total = sum(job.cost for job in jobs)
    done = total - sum(job.cost for job in waiting)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_start(waiting.pop(0), folder, environment))
            for each in _ended(running):
                if each.process.returncode:
                    raise FerError(_failure(each))
                each.job.finish(each.unfinished, key)
                done += each.job.cost
                each.said.close()
                running.remove(each)
            if progress:
                progress(stage, done, total)
            time.sleep(_POLL_SECONDS if running else 0)
    finally:
        for each in running:
            each.stop()


def _start(job: Job, folder: Path, environment: Mapping[str, str]) -> _Running:
    job.made.parent.mkdir(parents=True, exist_ok=True)
    said = job.made.with_name(f"{job.made.name}.log").open("w+b")
    argv = [*job.argv, "-o", str(_unfinished(job))]
    try:
        # A session of its own, so that all that it starts can be ended with it.
        process = subprocess.Popen(
            argv, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        said.close()
        raise FerError(f"cannot start {argv[0]}: {error.strerror}") from error
    return _Running(job, process, said)


def _ended(running: Sequence[_Running]) -> Iterator[_Running]:
    yield from [each for each in running if each.process.poll() is not None]


def _failure(each: _Running) -> str:
    """What could not be made, and the first error of the compiler's."""
    each.said.seek(0)
    lines = each.said.read().decode(errors="replace").splitlines()
    killed = -each.process.returncode == signal.SIGKILL or any("Killed signal" in line for line in lines)
    first = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
    cure = "memory ran out: give --jobs 1" if killed else f"all that it said: {each.job.made}.log"
    if any("No space left on device" in line for line in lines):
        cure = "make room, and run this again: it goes on where it was"
    return f"{each.job.argv[0]} failed at {each.job.made.name}: {first.strip()}\n{cure}"
