"""Time `fer prepare` against the chain people write by hand today, on the real FER2013 CSV.

    python scripts/bench_prepare.py fer2013.csv [--rounds 3] [--work DIR]

Each round runs both, one after the other, on a file read once before and with all earlier writes on the disk. `fer
prepare` is timed as a whole process, with its checks, audit and hashes; the chain (scripts/bench_chain.py: pandas
read_csv, np.fromstring, cv2.imwrite, an LMDB loop with pycaffe's Datum, the mean) without its imports. Then compares
what the two wrote, and times a quarter and a half of the rows.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lmdb

ROOT = Path(__file__).resolve().parent.parent
CHAIN = ROOT / "scripts" / "bench_chain.py"
SPLITS = ("train", "val", "test")


def run(command: list[str | Path]) -> tuple[str, float, float]:
    """(stdout, wall seconds, peak memory in MB of the process and each of its children) of a command."""
    # uv does not look into pyenv's versions by itself.
    pythons = sorted(map(str, Path.home().glob(".pyenv/versions/3.9.*/bin")))
    path = os.pathsep.join([str(Path(sys.executable).parent), *pythons, os.environ["PATH"]])
    os.sync()
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PATH": path})
    assert child.stdout is not None
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed with {child.returncode}:\n{printed}")
    return printed, time.perf_counter() - started, usage.ru_maxrss / 1000


def run_fer(csv: Path, out: Path) -> tuple[float, float]:
    shutil.rmtree(out, ignore_errors=True)
    _, seconds, memory = run([sys.executable, "-m", "fer", "prepare", csv, "--out", out])
    return seconds, memory


def run_chain(csv: Path, out: Path) -> tuple[dict, float]:
    shutil.rmtree(out, ignore_errors=True)
    printed, _, memory = run(["uv", "run", "--no-project", "--script", CHAIN, csv, out])
    return json.loads(printed.splitlines()[-1]), memory


def same_data(one: Path, two: Path) -> bool:
    """Whether the databases hold the same keys and values and the indexes the same lines."""
    for split in SPLITS:
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


def compare(csv: Path, work: Path, rounds: int) -> None:
    fer, chain = [], []
    for k in range(rounds):
        fer.append(run_fer(csv, work / "fer"))
        chain.append(run_chain(csv, work / "chain"))
        print(f"round {k + 1}: fer {fer[-1][0]:.2f} s, chain {chain[-1][0]['seconds']:.2f} s", flush=True)
    fer_seconds = statistics.median(seconds for seconds, _ in fer)
    chain_seconds = statistics.median(result["seconds"] for result, _ in chain)
    print(f"\n{cpu()}; {csv.stat().st_size / 1e6:.0f} MB; median of {rounds}; load {os.getloadavg()[0]:.1f}")
    print("chain: " + ", ".join(f"{name} {version}" for name, version in chain[0][0]["versions"].items()))
    print(f"{'':24}{'seconds':>10}{'peak MB':>10}")
    print(f"{'fer prepare':24}{fer_seconds:10.2f}{max(memory for _, memory in fer):10.0f}")
    print(f"{'chain':24}{chain_seconds:10.2f}{max(memory for _, memory in chain):10.0f}")
    for step in chain[0][0]["steps"]:
        print(f"{'  ' + step:24}{statistics.median(result['steps'][step] for result, _ in chain):10.2f}")
    print(f"fer prepare is {chain_seconds / fer_seconds:.2f} times as fast")
    print(f"the databases and indexes are {'the same' if same_data(work / 'fer', work / 'chain') else 'DIFFERENT'}\n")


def scale(csv: Path, work: Path, rounds: int) -> None:
    print(f"{'rows':>10}{'seconds':>10}{'ms a row':>10}{'peak MB':>10}")
    for every in (4, 2, 1):
        part = work / "part.csv"
        count = write_part(csv, part, every)
        runs = [run_fer(part, work / "fer") for _ in range(rounds)]
        seconds = statistics.median(seconds for seconds, _ in runs)
        print(f"{count:10,}{seconds:10.2f}{1000 * seconds / count:10.3f}{max(memory for _, memory in runs):10.0f}")


if __name__ == "__main__":
    main()
