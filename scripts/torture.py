"""Tries to break fer, and prints one table: what was tried, what held, what failed.

    python scripts/torture.py                              the short form, as CI runs it (under a minute)
    python scripts/torture.py --kills 500 --inputs 5000 --disks 60 --names 99    the long one
    python scripts/torture.py --only inputs --seed 7       other damage than seed 1's, and that alone

Held is: an exit code of 0, 1 or 2 within a minute and 3 GiB; an error of at most three lines of 200 characters; nothing
half-written under its name; a training that was killed ends with the bytes of one that was not; a swap is noticed.
What failed is listed with what is needed to try it again. Exit code 1 where anything did.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from torture_bench import ENGINES, Bench, Trial, make_bench
from torture_disks import small_disks
from torture_inputs import INPUTS, damaged_inputs, hostile_names, swapped_files
from torture_kills import kill_prepare, kill_training

SHORT = {"kills": 3, "inputs": 3 * len(INPUTS), "disks": 1, "names": 4}
KINDS = ("kills", "disks", "inputs", "names", "swaps")


def trials(bench: Bench, options: argparse.Namespace) -> Iterator[Trial]:
    if "names" in options.only:
        yield from hostile_names(bench, options.names)
    if "swaps" in options.only:
        yield from swapped_files(bench)
    if "inputs" in options.only:
        yield from damaged_inputs(bench, options.inputs)
    if "disks" in options.only:
        yield from small_disks(bench, options.disks)
    if "kills" in options.only:
        share = -(-options.kills // (1 + len(bench.engines)))
        yield from kill_prepare(bench, share)
        for engine in bench.engines:
            yield from kill_training(bench, engine, share)


def table(tried: Counter[str], failed: Counter[str]) -> str:
    width = max(map(len, (*tried, "all")), default=3)
    rows: list[tuple[str, ...]] = [("", "tried", "held", "failed")]
    rows += [(kind, f"{tried[kind]:,}", f"{tried[kind] - failed[kind]:,}", f"{failed[kind]:,}") for kind in tried]
    rows.append(("all", *(f"{number:,}" for number in (tried.total(), tried.total() - failed.total(), failed.total()))))
    return "\n".join(f"{row[0]:<{width}}" + "".join(f"  {cell:>7}" for cell in row[1:]) for row in rows)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in SHORT.items():
        parser.add_argument(f"--{name}", type=int, default=number, metavar="N", help=f"default: {number}")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--engines", choices=ENGINES, nargs="+", default=ENGINES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="a folder for it all, which stays (default: a temporary one)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    started = time.monotonic()
    work = (options.work or Path(tempfile.mkdtemp(prefix="fer-torture-"))).absolute()
    work.mkdir(parents=True, exist_ok=True)
    tried, failed = Counter[str](), Counter[str]()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # mounts and folders go then, too
    try:
        for trial in trials(make_bench(work, options.seed, options.engines), options):
            tried[trial.kind] += 1
            if trial.fault:
                failed[trial.kind] += 1
                print(f"FAILED {trial.kind}, {trial.what}\n  {trial.fault}", flush=True)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
        print(f"{table(tried, failed)}\nseed {options.seed}, {time.monotonic() - started:,.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
