"""fer schedule: a solver with a cosine or a warm-up, in Caffe's own learning-rate policies."""

import argparse
from pathlib import Path

from fer.commands.numbers import positive
from fer.commands.terminal import show
from fer.errors import UsageError

SUMMARY = "a solver with a cosine or a warm-up, for stock Caffe"
HELP = """\
examples:
  fer schedule cosine.prototxt --net vgg8 --solver s1 --cosine
  fer schedule warm.prototxt --net vgg8 --solver s1 --warm-up 450

Writes a solver like the one given, but for its learning rate: half a cosine from base_lr to 0 over
max_iter, as a staircase of lr_policy "multistep"; or a straight rise to base_lr over N iterations, as
"inv". No policy of Caffe's rises and then falls, so the two are trained one after the other:

  fer train --net vgg8 --solver warm.prototxt
  fer train --net vgg8 --solver cosine.prototxt --weights runs/vgg8-warm/snapshots/vgg8_iter_450.caffemodel
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="the solver to write, say cosine.prototxt")
    add("--net", required=True, help="a shipped net or a train_val.prototxt")
    add("--solver", required=True, help="one of the net's solvers or a solver.prototxt: all but the learning rate")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cosine", action="store_true", help="from base_lr to 0 over max_iter")
    which.add_argument("--warm-up", type=positive, metavar="N", help="from 0 to base_lr in N iterations")
    add("--max-iter", type=positive, metavar="N", help="length of the cosine (default: the solver's)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.warm_up and args.max_iter:
        raise UsageError(
            "--max-iter is the length of a cosine; a warm-up is as long as --warm-up N says: leave it out."
        )
    from fer.formats.prototxt import read_solver, write_text
    from fer.nets.policies import learning_rate
    from fer.nets.schedules import cosine, warm_up
    from fer.nets.zoo import find_net, find_solver
    from fer.system.shell import command, from_here

    net, source = find_net(args.net).resolve(), find_solver(args.net, args.solver)
    for what, path in (("solver", source), ("net", net)):
        if args.out.exists() and args.out.samefile(path):
            raise UsageError(f"{args.out} is the {what} itself: give OUT another name.")
    solver = read_solver(source)
    solver.net = str(from_here(net))
    solver.snapshot_prefix = args.out.stem
    if args.max_iter:
        solver.max_iter = args.max_iter
    made = warm_up(solver, args.warm_up) if args.warm_up else cosine(solver)
    shown = [min(made.max_iter * quarter // 4, made.max_iter - 1) for quarter in range(5)]
    rates = [learning_rate(made, iteration) for iteration in shown]
    write_text(args.out, made)
    for iteration, rate in zip(shown, rates, strict=True):
        show(f"iteration {iteration:>9,}   lr {rate:.6f}")
    show(f"{args.out} is ready. Next: {command('fer', 'train', '--net', args.net, '--solver', args.out)}")
    return 0
