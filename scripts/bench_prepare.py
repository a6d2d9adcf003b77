"""Time `fer prepare` against the chain people write by hand today, on the real FER2013 CSV.

    python scripts/bench_prepare.py fer2013.csv [--rounds 3] [--work DIR]

Each round runs both, one after the other, on a file read once before and with all earlier writes on the disk. `fer
prepare` is timed as a whole process, with its checks, audit and hashes; the chain (scripts/bench_chain.py: pandas
read_csv, np.fromstring, cv2.imwrite, an LMDB loop with pycaffe's Datum, the mean) without its imports. A quarter and
half of the rows show how time grows; at the end, what the two wrote is compared.

Nothing is removed before the end: for minutes after many files were deleted, ext4 takes ten times as long to make new
ones, which would be measured instead. For the same reason, let five minutes pass between two runs on one disk, or
name a memory file system (`--work /dev/shm`).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import lmdb

ROOT = Path(__file__).resolve().parent.parent
CHAIN = ROOT / "scripts" / "bench_chain.py"


@dataclass(frozen=True)
class Timing:
    """One run, all its processes together: wall seconds, processor seconds (user and system), peak memory in MB."""

    seconds: float
    cpu: float
    memory: float


def median(runs: list[Timing]) -> tuple[float, float, float]:
    """(median wall seconds, median processor seconds, highest peak memory)."""
    wall, cpu = (statistics.median(getattr(run, name) for run in runs) for name in ("seconds", "cpu"))
    return wall, cpu, max(run.memory for run in runs)


def run(command: list[str | Path]) -> tuple[str, Timing]:
    """(what it printed, what it took) of a command."""
    # uv does not look into pyenv's versions by itself.
    pythons = sorted(map(str, Path.home().glob(".pyenv/versions/3.9.*/bin")))
    path = os.pathsep.join([str(Path(sys.executable).parent), *pythons, os.environ["PATH"]])
    os.sync()
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PATH": path})
    peak = PeakMemory(child.pid)
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed with {child.returncode}:\n{printed}")
    return printed, Timing(seconds, usage.ru_utime + usage.ru_stime, peak.stop() / 1e6)


class PeakMemory(threading.Thread):
    """Watches the resident memory of a process and all below it, fifty times a second; `stop` gives the peak in bytes.

    Pages that processes share are counted for each.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._pid = pid
        self._peak = 0
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            self._peak = max(self._peak, tree_memory(self._pid))

    def stop(self) -> int:
        self._stopped.set()
        self.join()
        return self._peak


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and all below it; 0 for one that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [
            child for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()
        ]
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(tree_memory(int(child)) for child in children)


def run_fer(csv: Path, out: Path) -> Timing:
    return run([sys.executable, "-m", "fer", "prepare", csv, "--out", out])[1]


def run_chain(csv: Path, out: Path) -> tuple[Timing, dict]:
    printed, timing = run(["uv", "run", "--no-project", "--script", CHAIN, csv, out])
    result = json.loads(printed.splitlines()[-1])
    return Timing(result["seconds"], result["cpu"], timing.memory), result


def same_data(one: Path, two: Path) -> bool:
    """Whether the databases hold the same keys and values and the indexes the same lines."""
    for split in ("train", "val", "test"):
        if (one / f"{split}.txt").read_bytes() != (two / f"{split}.txt").read_bytes():
            return False
        contents = []
        for directory in (one, two):
            with lmdb.open(str(directory / f"{split}_lmdb"), readonly=True, lock=False) as env, env.begin() as view:
                contents.append(list(view.cursor()))
        if contents[0] != contents[1]:
            return False
    return True


def write_part(csv: Path, part: Path, every: int) -> int:
    """Every `every`-th row of a CSV; the number of rows."""
    with csv.open("rb") as source, part.open("wb") as target:
        target.write(source.readline())
        count = 0
        for row, line in enumerate(source):
            if row % every == 0:
                target.write(line)
                count += 1
    return count


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure (default: the system's temporary)")
    options = parser.parse_args()
    csv = options.csv.resolve()
    with csv.open("rb") as stream:
        while stream.read(1 << 24):
            pass
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-prepare-") as work:
        compare(csv, Path(work), options.rounds)
        scale(csv, Path(work), options.rounds)
        same = same_data(Path(work) / "fer-0", Path(work) / "chain-0")
        print(f"\nthe two wrote {'the same databases and indexes' if same else 'DIFFERENT databases or indexes'}")


def compare(csv: Path, work: Path, rounds: int) -> None:
    fer, chain, results = [], [], []
    for k in range(rounds):
        fer.append(run_fer(csv, work / f"fer-{k}"))
        timing, result = run_chain(csv, work / f"chain-{k}")
        chain.append(timing)
        results.append(result)
        print(f"round {k + 1}: fer {fer[-1].seconds:.2f} s, chain {timing.seconds:.2f} s", flush=True)
    print(f"\n{cpu()}; {csv.stat().st_size / 1e6:.0f} MB; median of {rounds}; load {os.getloadavg()[0]:.1f}")
    print("chain: " + ", ".join(f"{name} {version}" for name, version in results[0]["versions"].items()))
    print(f"{'':20}{'seconds':>10}{'cpu s':>10}{'peak MB':>10}")
    for name, runs in (("fer prepare", fer), ("chain", chain)):
        wall, processor, memory = median(runs)
        print(f"{name:20}{wall:10.2f}{processor:10.2f}{memory:10.0f}")
    for step in results[0]["steps"]:
        print(f"{'  ' + step:20}{statistics.median(result['steps'][step] for result in results):10.2f}")
    print(f"fer prepare is {median(chain)[0] / median(fer)[0]:.2f} times as fast\n")


def scale(csv: Path, work: Path, rounds: int) -> None:
    print(f"{'rows':>10}{'seconds':>10}{'cpu s':>10}{'ms a row':>10}{'peak MB':>10}")
    for every in (4, 2, 1):
        part = work / f"part-{every}.csv"
        count = write_part(csv, part, every)
        wall, processor, memory = median([run_fer(part, work / f"part-{every}-{k}") for k in range(rounds)])
        print(f"{count:10,}{wall:10.2f}{processor:10.2f}{1000 * wall / count:10.3f}{memory:10.0f}", flush=True)


if __name__ == "__main__":
    main()
