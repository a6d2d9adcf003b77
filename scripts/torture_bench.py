"""What the trials of scripts/torture.py share: a small data set, runs of both engines, commands in forked processes.

A command runs in a process forked from this one, which has imported fer: without the second that a start takes.
"""

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import make_sample

import fer.commands.terminal
import fer.inference.predict
import fer.report.build
import fer.training.train  # noqa: F401  # these, that what is forked has them
from fer import cli

NET = """
name: "Small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 crop_size: 44 mirror: true mean_file: "mean.binaryproto" }
  data_param { source: "train_lmdb" backend: LMDB batch_size: 16 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 crop_size: 44 mean_file: "mean.binaryproto" }
  data_param { source: "val_lmdb" backend: LMDB batch_size: 7 } }
layer { name: "hidden" type: "InnerProduct" bottom: "data" top: "hidden"
  inner_product_param { num_output: 24 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "hidden" top: "hidden" }
layer { name: "ip" type: "InnerProduct" bottom: "hidden" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" test_iter: 5 test_interval: 50 base_lr: 0.01 momentum: 0.9 lr_policy: "fixed"
display: 10 max_iter: 300 snapshot: 20 snapshot_prefix: "here"
"""
ENGINES = ("caffe", "pytorch")
LINES, WIDTH = 3, 200  # of a message
MOST_FAULTS = 20  # lines of a list of faults, one a line
SECONDS, MEMORY = 60.0, 3 << 30


@dataclass(frozen=True)
class Trial:
    """One thing tried: its kind (a row of the table), what can be said to try it again, and the fault if it failed."""

    kind: str
    what: str
    fault: str | None = None


@dataclass
class Command:
    """A command of fer in a forked process of its own, with whatever it starts."""

    words: Sequence[str | Path]
    folder: Path
    limits: dict[int, int] = field(default_factory=dict)
    said: str = ""
    code: int | None = None

    def start(self) -> "Command":
        self.log = Path(tempfile.gettempdir()) / f"fer-torture-{os.getpid()}-{time.monotonic_ns()}"
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run()
        return self

    def _run(self) -> None:
        code = 70
        try:
            os.setsid()
            os.chdir(self.folder)
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, target in enumerate((null, out, out)):
                os.dup2(target, number)
            sys.argv = ["fer", *map(str, self.words)]
            for limit, value in {resource.RLIMIT_DATA: MEMORY, **self.limits}.items():
                resource.setrlimit(limit, (value, value))
            code = cli.main([str(word) for word in self.words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 255)

    def wait(self, seconds: float = SECONDS) -> bool:
        """Whether it ended within these seconds; then `code` and `said` are known."""
        end = time.monotonic() + seconds
        pause = 0.001
        while self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.memory = usage.ru_maxrss * 1024
                self.said = self.log.read_bytes().decode("utf-8", "replace") if self.log.exists() else ""
                self.log.unlink(missing_ok=True)
            elif time.monotonic() > end:
                return False
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, 0.02)
        return True

    def kill(self) -> None:
        """With all that it has started."""
        for pid in [self.pid, *descendants(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


def attempt(
    words: Sequence[str | Path], folder: Path, limits: dict[int, int] | None = None
) -> tuple[Command, str | None]:
    """Run a command to its end; what is wrong with how it ended, if anything is."""
    command = Command(words, folder, limits or {}).start()
    if not command.wait():
        command.kill()
        return command, f"still at work after {SECONDS:.0f} s"
    return command, fault_of(command)


def fault_of(command: Command) -> str | None:
    """None where it is done, or has said what is wrong as it should: a few short lines, nothing of ours broken."""
    lines = command.said.splitlines()
    if command.code not in (0, 1, 2):
        return f"exit code {command.code}: {command.said[-600:]!r}"
    if command.memory > MEMORY:
        return f"took {command.memory >> 20} MiB of memory"
    if "Traceback" in command.said:
        return f"a traceback: {command.said[-600:]!r}"
    if any(unicodedata.category(char) == "Cc" and char != "\n" for char in command.said):
        return f"control characters: {command.said[:300]!r}"
    if command.code == 0:
        return None
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if not errors:
        return f"no error said: {command.said[-300:]!r}"
    message = lines[errors[-1] :]
    listed = message[0].endswith("to mend first:") or all(line.count(":") > 1 for line in message)  # a fault a line
    if len(message) > (MOST_FAULTS if listed else LINES) or any(
        len(line.removeprefix("error: ")) > WIDTH for line in message
    ):
        return f"an error of {len(message)} lines, the longest of {max(map(len, message))}: {command.said[-600:]!r}"
    return None


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [each for child in children for each in (child, *descendants(child))]


def ended(pids: Sequence[int], seconds: float = 30.0) -> bool:
    """Whether processes that are not ours to wait for are gone within these seconds."""
    end = time.monotonic() + seconds
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- the small data set, and the runs


@dataclass(frozen=True)
class Bench:
    """A folder with sample.csv, data/, net.prototxt, solver.prototxt and undisturbed, scored runs: runs/<engine>.

    `seconds` is how long each took; `seed` is behind all that is drawn.
    """

    work: Path
    seed: int
    engines: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    def random(self, *of: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *of))))

    def train(self, name: str, engine: str) -> list[str | Path]:
        words: list[str | Path] = [
            "train",
            "--net",
            self.work / "net.prototxt",
            "--solver",
            self.work / "solver.prototxt",
        ]
        return [*words, "--data", self.work / "data", "--engine", engine, "--seed", "1", "--name", name]

    def prepare(self, out: Path) -> list[str | Path]:
        return ["prepare", self.work / "sample.csv", "--out", out, "--title", "drawn sample"]

    def timed(self, what: str, words: Sequence[str | Path]) -> None:
        started = time.monotonic()
        command = Command(words, self.work).start()
        if not command.wait(600) or command.code != 0:
            sys.exit(f"undisturbed, {what} failed with {command.code}:\n{command.said}")
        self.seconds[what] = time.monotonic() - started


def make_bench(work: Path, seed: int, engines: Sequence[str]) -> Bench:
    """Make them. What is started from now on takes one thread: the nets are small, and the machine may be busy."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "FER_TORCH_THREADS": "1"}
    for name in ("FER_CAFFE", "FER_CAFFE_PYTHON"):
        os.environ.pop(name, None)
    bench = Bench(work, seed, tuple(engines))
    arguments: list[str | Path] = [
        sys.executable,
        str(make_sample.__file__),
        work / "sample.csv",
        "--train",
        "10",
        "--test",
        "5",
    ]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    (work / "net.prototxt").write_text(NET)
    (work / "solver.prototxt").write_text(SOLVER)
    bench.timed("prepare", bench.prepare(work / "data"))
    for engine in bench.engines:
        bench.timed(engine, bench.train(engine, engine))
    first = work / "runs" / bench.engines[0]
    bench.timed("report", ["report", first, "--val-only"])
    bench.timed("export", ["export", first, "--out", "exported"])
    return bench


def last_bytes(run: Path) -> dict[str, str]:
    """The hashes of a run's last weights and state, and of its deploy."""
    last = [path for path in (run / "snapshots").glob("*_iter_300.*") if path.suffix in (".caffemodel", ".solverstate")]
    return {path.name: digest(path) for path in (*last, run / "deploy.prototxt")}


def tree(folder: Path) -> dict[str, str]:
    """The hash of every file of a data directory but its manifest, which has a time in it."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name not in ("manifest.json", "lock.mdb")
    )
    return {str(path.relative_to(folder)): digest(path) for path in files}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A folder for one trial."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
