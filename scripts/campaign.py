"""Long trainings on the CPU, one after the other: a queue that may be stopped at any time and goes on where it was.

    python scripts/campaign.py [RUN ...] [--data data/fer2013] [--runs runs]     # all of RUNS, or those named, in order
    python scripts/campaign.py --status                                          # what is done, what runs, time left
    python scripts/campaign.py --pause                                           # for a timing; --go-on ends it

Runs at the lowest priority, in bf16 where the processor has it and else in fp32, on the PyTorch engine. A finished run
is passed over, a cut one resumed from its newest snapshot, a failed one reported and left alone. Ctrl-C or SIGTERM save
and stop. Begin it in a clone of one commit with an environment of its own, so that what trains does not change.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.formats.log import parse_log
from fer.formats.log_outputs import find_accuracy
from fer.runs.run import RUN_JSON, Run
from fer.system.hardware import native_bf16
from fer.system.locks import lock


@dataclass(frozen=True)
class Training:
    """A run's net and solver, what `fer train` is told besides, and the commands of `fer` that come before it."""

    net: str
    solver: str
    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


ROOT = Path(__file__).resolve().parent.parent
# The original project's nets read the database in its order, as Caffe did.
RUNS = {
    "alexnet-s1": Training("alexnet", "s1"),
    "resnet18h-s1": Training("resnet18h", "s1", ("--shuffle",)),
    "googlenetbn-s1": Training("googlenetbn", "s1", ("--shuffle",)),
    "alexnet-s3": Training("alexnet", "s3"),
    "vgg13-s1": Training("vgg13", "s1", ("--shuffle",)),
    # The student: the model in the box, taught for 30 epochs by the two that were the best when it was begun.
    "vgg8-taught": Training(
        "taught/train_val.prototxt",
        str(ROOT / "prototxt/vgg8/solver_s2.prototxt"),
        ("--lr", "0.03", "--weights", "taught/teachers.caffemodel", "--ema", "0.999", "--shuffle"),
        before=(
            "average runs/vgg13-s1 --last 12",
            "average runs/resnet18h-s1 --last 12",
            "distill --student vgg8 --teachers runs/vgg13-s1 runs/resnet18h-s1 --out taught/train_val.prototxt "
            f"--start {shlex.quote(str(ROOT / 'fer/inference/model/weights.caffemodel'))}",
        ),
    ),
    "alexnet-s2": Training("alexnet", "s2"),
}
PID = ".campaign.pid"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)} (all)")
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"), metavar="DIR")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="a folder called runs")
    parser.add_argument("--max-iter", type=int, metavar="N", help="stop each run there: to see that it works")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--status", action="store_true", help="print what is done, what runs, and the time left")
    how.add_argument("--pause", action="store_true", help="stop the processors' work (SIGSTOP) until --go-on")
    how.add_argument("--go-on", action="store_true", help="end a pause (SIGCONT)")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.names if name not in RUNS]:
        parser.error(f"no run {unknown[0]!r}; there are {', '.join(RUNS)}")
    names = options.names or list(RUNS)
    if options.runs.name != "runs":
        parser.error(f"--runs {options.runs}: fer train makes its runs in a folder called runs")
    if options.status:
        print("\n".join(status(options.runs / name) for name in names))
        return 0
    if options.pause or options.go_on:
        return send(options.runs / PID, signal.SIGSTOP if options.pause else signal.SIGCONT)
    return work(names, options)


def work(names: Sequence[str], options: argparse.Namespace) -> int:
    """Train what is not finished, unless another campaign is at it; the exit code is the last failed training's."""
    os.nice(19)
    options.runs.mkdir(parents=True, exist_ok=True)
    with (options.runs / PID).open("a+") as pid_file:
        if not lock(pid_file.fileno()):
            print(f"a campaign is at work in {options.runs} already", file=sys.stderr)
            return 1
        pid_file.truncate(0)
        print(os.getpid(), file=pid_file, flush=True)
        code = 0
        for name in names:
            if state(options.runs / name) not in ("finished", "failed"):
                ended = train(name, options)
                if ended in (128 + signal.SIGINT, 128 + signal.SIGTERM):
                    return ended
                code = ended or code
            print(status(options.runs / name), flush=True)
    return code


def train(name: str, options: argparse.Namespace) -> int:
    """One training to its end, after what comes before it; returns the exit code of the first that failed, or 0."""
    first = state(options.runs / name) is None
    for words in [*map(shlex.split, RUNS[name].before if first else ()), command(name, options)]:
        if code := run_fer(words, options.runs.absolute().parent):  # fer train makes its runs in ./runs
            return code
    return 0


def run_fer(words: Sequence[str], folder: Path) -> int:
    """One command of `fer` to its end; a signal that we get reaches it, and it saves. Returns its exit code."""
    child = subprocess.Popen([sys.executable, "-m", "fer", *words], cwd=folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: child.send_signal(number))
    return child.wait()


def command(name: str, options: argparse.Namespace) -> list[str]:
    """The words after `fer`."""
    if state(options.runs / name) is not None:
        return ["train", "--resume", f"{options.runs.name}/{name}", "--engine", "pytorch"]
    training = RUNS[name]
    words = ["train", "--net", training.net, "--solver", training.solver, "--name", name, "--seed", "1"]
    words += ["--data", str(options.data.absolute()), "--engine", "pytorch", *training.options]
    words += ["--precision", "bf16" if native_bf16() else "fp32"]
    return words + (["--max-iter", str(options.max_iter)] if options.max_iter else [])


def state(run: Path) -> str | None:
    """finished, failed, interrupted or training (also where it was killed), of run.json; None where nothing is."""
    return Run(run).record.state if (run / RUN_JSON).is_file() else None


def status(run: Path) -> str:
    """One line: the state, how far it is, the last accuracy on val, the hours it took and those left."""
    found = state(run)
    if found is None:
        return f"{run.name:14} waiting"
    record, log = Run(run).record, parse_log(run / "train.log")
    shown, tests = log.curve("train"), log.curve("test")
    reached = max(record.iteration, shown[-1].iteration if shown else 0)
    line = f"{run.name:14} {found:11} {reached:>7,} of {record.max_iter:,}"
    if (accuracy := tests[-1].outputs.get(find_accuracy(tests).name) if tests else None) is not None:
        line += f", {accuracy:.2%} on val"
    if found == "training" and len(shown) > 1:
        first, last = shown[max(0, len(shown) - 20)], shown[-1]
        pace = (last.seconds - first.seconds) / (last.iteration - first.iteration)
        return f"{line}, {pace * (record.max_iter - reached) / 3600:.1f} h left"
    return f"{line}, {(record.seconds or 0.0) / 3600:.1f} h"


def send(path: Path, number: int) -> int:
    """Send the signal to the campaign and to all that it has started, engines in sessions of their own included."""
    try:
        with path.open() as pid_file:
            at_work, text = not lock(pid_file.fileno()), pid_file.read()
    except FileNotFoundError:
        at_work, text = False, ""
    if not at_work:
        print(f"no campaign is at work in {path.parent}", file=sys.stderr)
        return 1
    for process in [int(text), *descendants(int(text))]:
        os.kill(process, number)
    return 0


def descendants(process: int) -> Iterator[int]:
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield int(child)
        yield from descendants(int(child))


if __name__ == "__main__":
    sys.exit(main())
