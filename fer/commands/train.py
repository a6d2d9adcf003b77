"""fer train: a net trained in a run directory, or trained on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.numbers import between, positive
from fer.commands.terminal import show
from fer.engines.engine import PRECISIONS
from fer.engines.registry import AUTO, ENGINES
from fer.errors import UsageError

if TYPE_CHECKING:
    from fer.training.options import ResumeOptions, TrainOptions

SUMMARY = "train a net in a run directory"
HELP = """\
examples:
  fer train --net lenet --solver s2
  fer train --net alexnet --solver s3 --seed 1 --max-iter 5000
  fer train --net my/train_val.prototxt --solver my/solver.prototxt --data data/fer2013
  fer train --net alexnet --solver s1 --gpu 0 --precision bf16
  fer train --net vgg8 --solver s1 --patience 20 --precision auto
  fer train --resume runs/alexnet-s3

Trains in runs/<net>-<solver>. Ctrl-C stops at the next iteration with the work saved.
FER_TORCH_GRAPH=0 in the environment: the PyTorch engine trains on a GPU without CUDA graphs.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--net", help="a shipped net (lenet, alexnet, vgg8, ...) or a train_val.prototxt")
    add("--solver", help="one of the net's solvers (s1, s2, ...) or a solver.prototxt")
    add("--data", type=Path, default=Path("data/fer2013"), metavar="DIR", help="data directory (default: %(default)s)")
    add("--name", help="name of the run directory (default: <net>-<solver>)")
    add("--max-iter", type=positive, metavar="N", help="stop after N iterations (default: the solver's)")
    add("--seed", type=between(0, 2**31 - 1), help="random_seed: makes the run repeatable")
    add(
        "--patience",
        type=between(0, 2**31 - 1),
        metavar="N",
        help="end once N tests in a row have not beaten the best accuracy on val, whose snapshot is kept; 0: never",
    )
    add("--gpu", type=_gpus, metavar="N", help="train on GPU N; 0,1 or all: on several, each with the net's batch")
    add(
        "--precision",
        choices=["auto", *PRECISIONS],
        help="arithmetic of the PyTorch engine; auto: bf16 where the hardware calculates in it (default: fp32)",
    )
    add("--shuffle", action="store_true", help="a new order of the images each epoch (the PyTorch engine)")
    add("--weights", type=Path, metavar="F", help="start from the weights of a .caffemodel")
    add("--resume", type=Path, metavar="RUN", help="go on with a run from its newest verified snapshot")
    add("--approximate-resume", action="store_true", help="let FER_CAFFE's own caffe resume in mid-epoch")
    add(
        "--engine",
        choices=[AUTO, *ENGINES],
        default=AUTO,
        help="what trains; auto: Caffe, but PyTorch for what the Caffe found cannot do (default: %(default)s)",
    )
    add("--json", action="store_true", help="print run.json at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.display import TrainingDisplay
    from fer.system.records import encode_record
    from fer.system.shell import command
    from fer.training.resume import resume
    from fer.training.train import train

    if args.resume is None and not (args.net and args.solver):
        raise UsageError(
            "fer train needs --net and --solver (or --resume RUN).\nExample: fer train --net lenet --solver s2"
        )
    own = (args.net, args.solver, args.weights, args.name, args.shuffle, args.seed is not None)
    if args.resume is not None and any(own):
        raise UsageError("--resume RUN goes on with that run's own net, solver, name and seed: leave the others out.")
    with TrainingDisplay() as display:
        if args.resume is not None:
            run = resume(args.resume, _resume_options(args), display)
        else:
            run = train(args.net, args.solver, args.data, _train_options(args), display)
    if args.json:
        show(encode_record(run.record).decode(), end="")
    else:
        done, seconds = run.record.iteration, run.record.seconds
        early = f"; {run.record.ended}" if done < run.record.max_iter else ""
        accuracy = display.accuracy_at(done)
        report = command("fer", "report", run.dir)
        show(f"{run.dir}: {done:,} iterations in {seconds:,.0f} s{accuracy}{early}. Next: {report}")
    return 0


def _train_options(args: argparse.Namespace) -> "TrainOptions":
    from fer.training.options import TrainOptions

    return TrainOptions(
        name=args.name,
        engine=args.engine,
        gpu=args.gpu,
        precision=args.precision or "fp32",
        max_iter=args.max_iter,
        seed=args.seed,
        shuffle=args.shuffle,
        weights=args.weights,
        patience=args.patience,
    )


def _resume_options(args: argparse.Namespace) -> "ResumeOptions":
    from fer.training.options import ResumeOptions

    return ResumeOptions(
        engine=args.engine,
        gpu=args.gpu,
        precision=args.precision,
        max_iter=args.max_iter,
        patience=args.patience,
        approximate=args.approximate_resume,
    )


def _gpus(text: str) -> str:
    words = text.split(",")
    if text != "all" and (not all(map(str.isdecimal, words)) or len(set(words)) < len(words)):
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers, each once, as 0 or 0,1, or all")
    return text
