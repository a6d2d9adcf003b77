"""SIGKILL at random moments of `fer prepare` and of both engines' trainings: nothing half-written, the same end."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from torture_bench import (
    SECONDS,
    Bench,
    Command,
    Trial,
    attempt,
    descendants,
    emptied,
    ended,
    fault_of,
    last_bytes,
    tree,
)

IN_A_ROW = 6  # of one training; then it may go on to its end
NOTHING_YET = "no intact snapshot to go on from; start anew"
VICTIMS = ("fer", "engine", "both")


def kill_prepare(bench: Bench, count: int) -> Iterator[Trial]:
    """Each is killed once; what is there is whole or nothing, and preparing again gives the same bytes."""
    undisturbed = tree(bench.work / "data")
    for number in range(count):
        random_ = bench.random("kill prepare", number)
        with emptied(bench.work / f"prepare-{number}") as folder:
            out = folder / "data"
            command = Command(bench.prepare(out), folder).start()
            if not command.wait(random_.uniform(0, 1.1 * bench.seconds["prepare"])):
                command.kill()
            fault = "half of a data directory has its name" if out.exists() and tree(out) != undisturbed else None
            fault = fault or _again(bench, out, folder, undisturbed)
        yield Trial("kill -9 of prepare", f"{number}", fault)


def _again(bench: Bench, out: Path, folder: Path, undisturbed: dict[str, str]) -> str | None:
    command, fault = attempt(bench.prepare(out), folder)
    if fault or command.code != 0:
        return f"prepared again: {fault or command.said}"
    if tree(out) != undisturbed:
        return "prepared again, it is another"
    left = sorted(path.name for path in folder.iterdir() if path != out)
    return f"left behind: {', '.join(left)}" if left else None


def kill_training(bench: Bench, engine: str, count: int) -> Iterator[Trial]:
    """A training is killed and resumed up to IN_A_ROW times, and then ends as the undisturbed one did."""
    undisturbed = last_bytes(bench.work / "runs" / engine)
    kind, done, number = f"kill -9 of training, {engine}", 0, 0
    while done < count:
        random_ = bench.random(kind, number)
        with emptied(bench.work / f"{engine}-{number}") as folder:
            kills, fault = _one_training(bench, engine, folder, random_, min(IN_A_ROW, count - done))
            if fault is None and last_bytes(folder / "runs" / "run") != undisturbed:
                fault = "its last snapshot is not that of the undisturbed training"
        what = f"training {number}: {', '.join(kills)}"
        for _ in kills[: len(kills) - 1 if fault else None]:
            yield Trial(kind, what)
        if fault:
            yield Trial(kind, what, fault)
        done, number = done + max(len(kills), 1), number + 1


def _one_training(
    bench: Bench, engine: str, folder: Path, random_: random.Random, most: int
) -> tuple[list[str], str | None]:
    kills: list[str] = []
    run = folder / "runs" / "run"
    while True:
        begun = (run / "run.json").exists()
        if not begun and run.exists():
            return kills, f"a run directory without run.json: {sorted(path.name for path in run.iterdir())}"
        resume: list[str | Path] = ["train", "--resume", run, "--engine", engine]
        words = resume if begun else bench.train("run", engine)
        command = Command(words, folder).start()
        seconds = random_.uniform(0, 1.2 * bench.seconds[engine]) if len(kills) < most else 4 * SECONDS
        victim = random_.choice(VICTIMS)
        if command.wait(seconds):
            if command.code == 0:
                return kills, None
            if begun and "is finished" in command.said:  # killed after its last snapshot
                return kills, None
            if begun and NOTHING_YET in command.said and not list((run / "snapshots").glob("*.solverstate")):
                shutil.rmtree(run)
                continue
            return kills, f"{'resumed' if begun else 'begun'}, it ended with {command.code}: {command.said[-600:]}"
        if len(kills) == most:
            command.kill()
            return kills, f"still at work after {seconds:.0f} s"
        kills.append(f"{victim} after {seconds:.2f} s")
        if fault := _kill(command, victim):
            return kills, fault


def _kill(command: Command, victim: str) -> str | None:
    """What is wrong with how those end that were not killed, if anything is."""
    below = descendants(command.pid)
    if victim == "engine" and below:
        os.kill(below[0], signal.SIGKILL)
        if not command.wait():
            command.kill()
            return "the engine is gone, and fer goes on"
        return None if command.code == 0 else fault_of(command)
    if victim == "both":
        command.kill()
    else:
        os.kill(command.pid, signal.SIGKILL)
        command.wait()
    if not ended(below):
        for pid in below:
            os.kill(pid, signal.SIGKILL)
        return "fer is gone, and the engine goes on"
    return None
