"""fer distill: a net that learns from trained ones."""

import argparse
import os
from pathlib import Path

from fer.commands.numbers import power, temperature
from fer.commands.terminal import show

SUMMARY = "a net that learns from trained ones (distillation)"
HELP = """\
examples:
  fer distill --student vgg8 --teachers runs/vgg13-s1 runs/resnet18h-s1 --out taught/train_val.prototxt
  fer distill --student vgg8 --teachers runs/vgg13-s1 --temperature 2 --weight 0.7 --out taught2/train_val.prototxt
  fer distill --student vgg8 --teachers runs/vgg13-s1 --start vgg8.caffemodel --out taught3/train_val.prototxt

Writes the student's net with the teachers' nets inside its TRAIN phase, in Caffe's own layers, so that every engine
trains it; and beside it the teachers' weights, as teachers.caffemodel, with the student's own where --start gives
them. Of each run the snapshot that is best on val teaches; teachers are frozen. The student learns by the cross
entropy with the mean of their softened answers, softmax(scores / T), which counts A x T^2 times, and by its own
losses, which count 1 - A times. Tests, fer report and fer export see the student alone.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--student", required=True, metavar="NET", help="a shipped net (vgg8, ...) or a train_val.prototxt")
    add("--teachers", required=True, nargs="+", type=Path, metavar="RUN", help="finished runs on the same data")
    add("--temperature", type=temperature, default=4.0, metavar="T", help="softens the answers (default: 4)")
    add("--weight", type=power, default=0.9, metavar="A", help="share of the soft loss, to 1 (default: 0.9)")
    add("--start", type=Path, metavar="F", help="a .caffemodel of the student, which then learns on from it")
    add("--data", type=Path, metavar="DIR", help="where the data that the teachers were trained on are now")
    add("--out", required=True, type=Path, metavar="OUT", help="the net to write, as taught/train_val.prototxt")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.terminal import StageBars
    from fer.commands.train import DATA
    from fer.errors import FerError
    from fer.nets.zoo import find_solver, recommended_solver
    from fer.runs.opened import open_runs
    from fer.runs.record import average_text
    from fer.system.shell import command
    from fer.training.distill import distill

    runs = open_runs(args.teachers, Path("runs"), args.data)
    with StageBars() as progress:
        made = distill(
            args.student,
            runs,
            args.out,
            temperature=args.temperature,
            share=args.weight,
            start=args.start,
            progress=progress,
        )
    for run, snapshot in zip(runs, made.snapshots, strict=True):
        what = average_text(snapshot.averaged) if snapshot.averaged else f"iteration {snapshot.iteration:,}"
        show(f"teacher {run.dir}: {what}, the best on val")
    try:
        solver: object = _short(find_solver(args.student, recommended_solver(args.student)))
    except FerError:
        solver = "SOLVER"
    data = [] if DATA.resolve() == made.data.resolve() else ["--data", _short(made.data)]
    train = command("fer", "train", "--net", made.net, "--solver", solver, "--weights", made.weights, *data)
    size = made.weights.stat().st_size / 1e6
    show(f"Its snapshots will hold the teachers too, {size:.1f} MB each time; fer export writes the student alone")
    show(f"{made.net} and {made.weights} are ready. Next: {train}")
    return 0


def _short(path: Path) -> Path:
    from fer.system.shell import from_here

    return from_here(Path(os.path.abspath(path)))  # noqa: PTH100 -- resolve() would take the name behind a symlink
