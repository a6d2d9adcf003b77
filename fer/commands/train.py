"""fer train: a net trained in a run directory, or trained on."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.numbers import between, decay, over_0, positive
from fer.commands.terminal import show
from fer.engines.engine import NO_GPU, PRECISIONS
from fer.engines.registry import AUTO, ENGINES
from fer.errors import FerError, UsageError

if TYPE_CHECKING:
    from fer.runs.run import Run
    from fer.training.options import ResumeOptions, TrainOptions

# What a run has of its own, and keeps when it goes on.
OF_THE_RUN = ("net", "solver", "weights", "name", "shuffle", "seed", "lr", "batch_size", "ema")
DATA = Path("data/fer2013")
SUMMARY = "train a net in a run directory"
HELP = """\
examples:
  fer train lenet
  fer train lenet --epochs 30 --lr 0.005 --batch-size 32
  fer train --net alexnet --solver s3 --seed 1 --max-iter 5000
  fer train --net my/train_val.prototxt --solver my/solver.prototxt --data data/fer2013
  fer train --net alexnet --solver s1 --gpu 0 --precision bf16
  fer train --net vgg8 --solver s1 --patience 20 --precision auto
  fer train --net vgg8 --solver s1 --ema 0.999
  fer train --resume runs/alexnet-s3

Trains in runs/<net>-<solver>; without --solver by the one recommended (fer nets). Ctrl-C stops at the next iteration
with the work saved. --epochs, --max-iter, --lr and --batch-size stand in the run's own copy of the prototxts, and
--resume keeps them. --batch-size is Caffe's batch_size, the images of one pass on one GPU: an iteration has iter_size
times the number of GPUs as many, and epochs count those. The rate and its schedule are not rescaled.
--ema DECAY sets, after each update, average = decay * average + (1 - decay) * weights, BatchNorm's statistics alike,
with the decay min(DECAY, (1 + n) / (10 + n)) at iteration n. The average is saved with each snapshot N as ema_N, which
fer report scores on val too. --resume goes on with it exactly.
FER_TORCH_GRAPH=0 in the environment: the PyTorch engine trains on a GPU without CUDA graphs.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("nets", nargs="*", metavar="NET", help="the same as --net; a second word is the same as --solver")
    add("--net", help="a shipped net (lenet, alexnet, vgg8, ...) or a train_val.prototxt")
    add("--solver", help="one of the net's solvers (s1, s2, ...) or a solver.prototxt (default: the recommended one)")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"data directory (default: {DATA}; with --resume the run's own, wherever it is now)",
    )
    add("--name", help="name of the run directory (default: <net>-<solver>)")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--max-iter", type=positive, metavar="N", help="stop after N iterations (default: the solver's)")
    end.add_argument("--epochs", type=over_0, metavar="N", help="stop after N times through the training images")
    add("--lr", type=over_0, metavar="X", help="base_lr (default: the solver's)")
    add("--batch-size", type=positive, metavar="N", help="images of a pass in training (default: the net's)")
    add("--seed", type=between(0, 2**31 - 1), help="random_seed: makes the run repeatable")
    add(
        "--patience",
        type=between(0, 2**31 - 1),
        metavar="N",
        help="end once N tests in a row have not beaten the best accuracy on val, whose snapshot is kept; 0: never",
    )
    add(
        "--ema",
        type=decay,
        metavar="DECAY",
        help="keep an exponential average of the weights, 0.999 say, as one more snapshot (PyTorch, TensorFlow)",
    )
    add(
        "--gpu",
        type=_gpus,
        metavar="N",
        help="train on GPU N; 0,1 or all: on several, each with the net's batch; "
        "none: on the CPU, also what a GPU began",
    )
    add(
        "--precision",
        choices=["auto", *PRECISIONS],
        help="arithmetic of PyTorch or TensorFlow; auto: bf16 where the hardware calculates in it (default: fp32)",
    )
    add("--shuffle", action="store_true", help="a new order of the images each epoch (PyTorch, TensorFlow)")
    add("--weights", type=Path, metavar="F", help="start from the weights of a .caffemodel")
    add("--resume", type=Path, metavar="RUN", help="go on with a run from its newest verified snapshot")
    add("--approximate-resume", action="store_true", help="let FER_CAFFE's own caffe resume in mid-epoch")
    add("--tensorboard", type=Path, metavar="DIR", help="write the run's curves to DIR for TensorBoard as they grow")
    add("--allow-python-layers", action="store_true", help="let Caffe import the modules of a net's own Python layers")
    add(
        "--engine",
        choices=[AUTO, *ENGINES],
        default=AUTO,
        help="what trains; auto: Caffe, but PyTorch for a GPU and for what the Caffe found cannot do (default: auto)",
    )
    add("--json", action="store_true", help="print run.json at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _check_words(args)
    from fer.commands.display import TrainingDisplay
    from fer.nets.zoo import recommended_solver
    from fer.system.records import encode_record
    from fer.training.resume import resume
    from fer.training.train import train

    with TrainingDisplay() as display:
        if args.resume is not None:
            run = resume(args.resume, _resume_options(args), display)
        else:
            solver = args.solver or recommended_solver(args.net)
            run = train(args.net, solver, args.data or DATA, _train_options(args), display)
    if args.json:
        show(encode_record(run.record).decode(), end="")
    else:
        _tell_end(run)
    return 0


def _tell_end(run: "Run") -> None:
    """What the training has come to, and what to do next."""
    from fer.commands.terminal import say_out
    from fer.formats.log import parse_log
    from fer.nets.accuracy import read_accuracy_outputs
    from fer.report.curves import make_curves
    from fer.report.verdict import best_of, measured_on_val, run_verdict
    from fer.report.words import duration
    from fer.system.plural import counted
    from fer.system.shell import command

    record = run.record
    epoch = record.iterations_per_epoch
    many = f"{record.iteration / epoch:.3g}" if epoch else ""
    epochs = f" ({many} epoch{'s' * (many != '1')})" if many else ""
    early = f"; {record.ended}" if record.iteration < record.max_iter else ""
    show(f"{run.dir}: {counted(record.iteration, 'iteration')}{epochs} in {duration(record.seconds)}{early}")
    with contextlib.suppress(FerError):  # a log that shows nothing
        accuracies = read_accuracy_outputs(run.net, run.solver)
        curves = make_curves(parse_log(run.log), end=record.iteration, accuracies=accuracies)
        accuracy = measured_on_val(run, curves)
        say_out(run_verdict(run, best_of(accuracy), accuracy, curves))
    show(f"Next: {command('fer', 'report', run.dir)}")


def _check_words(args: argparse.Namespace) -> None:
    """Settle what the words without an option are, and refuse what would have no effect. Raises UsageError."""
    for option, word in zip(("net", "solver"), args.nets, strict=False):
        if getattr(args, option) not in (None, word):
            raise UsageError(f"{word!r} and --{option} {getattr(args, option)}: give one of them")
        setattr(args, option, word)
    if len(args.nets) > 2:
        raise UsageError(f"{' '.join(args.nets)}: more than one net\nSee fer train --help.")
    if args.resume is None and not args.net:
        raise UsageError("fer train needs a net (or --resume RUN); fer nets lists them\nExample: fer train lenet")
    if args.resume is None and args.approximate_resume:
        raise UsageError("--approximate-resume is for --resume RUN: leave it out.")
    own = {name: getattr(args, name) for name in OF_THE_RUN}
    if args.resume is not None and (
        given := [name for name, value in own.items() if value is not None and value is not False]
    ):
        raise UsageError(
            f"--resume RUN goes on with that run's own {', '.join(name.replace('_', '-') for name in given)}: "
            "leave the others out."
        )


def _train_options(args: argparse.Namespace) -> "TrainOptions":
    from fer.training.options import TrainOptions

    return TrainOptions(
        name=args.name,
        engine=args.engine,
        gpu=None if args.gpu == NO_GPU else args.gpu,
        precision=args.precision or "fp32",
        max_iter=args.max_iter,
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        seed=args.seed,
        shuffle=args.shuffle,
        weights=args.weights,
        patience=args.patience,
        ema=args.ema,
        python_layers=args.allow_python_layers,
        tensorboard=args.tensorboard,
    )


def _resume_options(args: argparse.Namespace) -> "ResumeOptions":
    from fer.training.options import ResumeOptions

    return ResumeOptions(
        engine=args.engine,
        gpu=args.gpu,
        precision=args.precision,
        max_iter=args.max_iter,
        epochs=args.epochs,
        data=args.data,
        patience=args.patience,
        python_layers=args.allow_python_layers,
        tensorboard=args.tensorboard,
        approximate=args.approximate_resume,
    )


def _gpus(text: str) -> str:
    words = text.split(",")
    if text not in ("all", NO_GPU) and (not all(map(str.isdecimal, words)) or len(set(words)) < len(words)):
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers, each once, as 0 or 0,1, or all, or none")
    return text
