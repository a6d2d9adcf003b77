"""fer average: the mean of a run's last snapshots as one more."""

import argparse
import json
from pathlib import Path

from fer.commands.numbers import between, positive
from fer.commands.terminal import show

SUMMARY = "the mean of a run's last snapshots as one more"
HELP = """\
examples:
  fer average runs/vgg8-s1
  fer average runs/vgg8-s1 --last 10
  fer average runs/vgg8-s1 --from 20000

Writes the mean of a run's last snapshots as one more snapshot of it, which fer report scores on val
like the others, and chooses where it is the best. The statistics of BatchNorm layers are measured
anew on the training data. Needs PyTorch, or TensorFlow for a run that it trained.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN", help="a run directory")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=between(2, 2**31 - 1), metavar="K", help="its last K snapshots (default: 5)")
    which.add_argument("--from", dest="first", type=positive, metavar="N", help="all from iteration N on")
    add("--data", type=Path, metavar="DIR", help="where the data that RUN was trained on are now")
    add("--batches", type=positive, metavar="N", help="for BatchNorm's statistics (default: an epoch)")
    add("--json", action="store_true", help="print what run.json says of the mean")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.terminal import StageBars
    from fer.runs.opened import open_runs
    from fer.system.plural import counted
    from fer.system.records import as_json
    from fer.system.shell import command
    from fer.training.average_run import average_run

    (run,) = open_runs([args.run_dir], Path("runs"), args.data)
    with StageBars("batches") as progress:
        made = average_run(run, last=args.last, first=args.first, batches=args.batches, progress=progress)
    entry = run.record.averages[made.name]
    if args.json:
        show(json.dumps(as_json(entry), indent=2))
    else:
        of = ", ".join(f"{iteration:,}" for iteration in made.averaged)
        statistics = f", BatchNorm's statistics of {counted(entry.batches, 'batch')}" if entry.batches else ""
        if args.last and len(made.averaged) < args.last:
            show(f"{run.dir} has {len(made.averaged)} snapshots, fewer than the {args.last} asked for: all were taken")
        show(f"{made.weights}: the mean of snapshots {of}{statistics}. Next: {command('fer', 'report', run.dir)}")
    return 0
