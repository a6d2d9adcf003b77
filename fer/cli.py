"""The commands, thin: parse, call, print. Everything heavy is imported by the command that needs it."""

import argparse
import json
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fer import __version__
from fer.commands import export, predict
from fer.errors import FerError, Interrupted, UsageError

MAIN_HELP = """\
examples:
  fer prepare fer2013.csv                      Kaggle's CSV -> data/fer2013 (JPGs, index files, LMDBs, mean)
  fer train --net alexnet --solver s3          train in runs/alexnet-s3 with real Caffe
  fer report runs/alexnet-s3                   accuracy, confusion matrix, ROC, curves, report.html
  fer export runs/alexnet-s3                   the net for pycaffe, OpenCV and ONNX, each proved on val
  fer predict photo.jpg                        the faces in a photo, each with its seven probabilities
  fer doctor                                   what is installed, and what to do about what is not
"""
PREPARE_HELP = """\
examples:
  fer prepare fer2013.csv
  fer prepare archive.zip --drop-leaks
  fer prepare fer2013.csv --resize 256 --out data/fer2013-256
  fer prepare fer2013.csv --augment 4 --out data/fer2013-x5

Turns FER2013 (fer2013.csv, icml_face_data.csv, either inside .gz .zip .tar.gz, or class folders)
into a data directory that fer and every Caffe tool reads. The copies of --augment lie shuffled among
the images of train (folder, index, database, mean); val and test have none.
"""
TRAIN_HELP = """\
examples:
  fer train --net lenet --solver s2
  fer train --net alexnet --solver s3 --seed 1 --max-iter 5000
  fer train --net my/train_val.prototxt --solver my/solver.prototxt --data data/fer2013
  fer train --net alexnet --solver s1 --gpu 0 --precision bf16
  fer train --net vgg8 --solver s1 --patience 20
  fer train --resume runs/alexnet-s3

Trains in runs/<net>-<solver>. Ctrl-C stops at the next iteration with the work saved.
"""
REPORT_HELP = """\
examples:
  fer report runs/alexnet-s3
  fer report runs/alexnet-s1 runs/alexnet-s2 runs/alexnet-s3
  fer report --ensemble runs/vgg8-s1 runs/vgg8-s2 --ten-crop
  fer report --log caffe.log --out caffe-log-report

Scores each image of val (PublicTest) and test (PrivateTest) once, with the snapshot that is best
on val, and writes metrics.json, CSVs, figures and report.html. No RUN: the newest one in runs/.
--ensemble reports several runs as one net, their probabilities averaged.
"""
AVERAGE_HELP = """\
examples:
  fer average runs/vgg8-s1
  fer average runs/vgg8-s1 --last 10
  fer average runs/vgg8-s1 --from 20000

Writes the mean of a run's last snapshots as one more snapshot of it, which fer report scores on val
like the others, and chooses where it is the best. The statistics of BatchNorm layers are measured
anew on the training data. Needs the PyTorch engine.
"""
INFOGAIN_HELP = """\
examples:
  fer infogain smooth.binaryproto --smoothing 0.1
  fer infogain balanced.binaryproto --balance data/fer2013 --smoothing 0.1

Writes the matrix H of Caffe's InfogainLoss: label smoothing, class weights by inverse frequency, or both.
Then, in train_val.prototxt, the loss of the TRAIN phase reads it (SoftmaxWithLoss stays for TEST):

  layer { name: "loss" type: "InfogainLoss" bottom: "ip2" bottom: "label" top: "loss" include { phase: TRAIN }
    infogain_loss_param { source: "smooth.binaryproto" } }
"""
DOCTOR_HELP = """\
examples:
  fer doctor
  fer doctor --json

Says what was found (versions, Caffe, GPU, disk) and what to do about what is missing.
"""


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError, so that every error looks alike."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nSee {self.prog} --help.")


def _parser() -> Parser:
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    parser = Parser(
        prog="fer",
        description=f"FER2013 faces from Kaggle's CSV to a trained Caffe network and an honest report.\n\n{MAIN_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=text,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _prepare_options(command("prepare", "CSV or folders -> JPGs, index files, LMDBs, mean", PREPARE_HELP))
    _train_options(command("train", "train a net in a run directory", TRAIN_HELP))
    _report_options(command("report", "score a run and draw its report", REPORT_HELP))
    _average_options(command("average", "the mean of a run's last snapshots as one more", AVERAGE_HELP))
    export.add_options(command("export", export.SUMMARY, export.HELP))
    predict.add_options(command("predict", predict.SUMMARY, predict.HELP))
    _infogain_options(command("infogain", "label smoothing and class weights for InfogainLoss", INFOGAIN_HELP))
    doctor = command("doctor", "what is installed, and what to do about it", DOCTOR_HELP)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)
    return parser


def _prepare_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=Path, help="fer2013.csv, icml_face_data.csv, an archive of either, or class folders")
    add("--out", type=Path, default=Path("data/fer2013"), help="the data directory (default: %(default)s)")
    add("--jpeg-quality", type=_between(1, 100), default=100, metavar="Q", help="1..100 (default: %(default)s)")
    add("--resize", type=_between(8, 1024), metavar="N", help="store N x N images in the databases (alexnet227: 256)")
    add("--encoded", action="store_true", help="store JPEG bytes in the databases")
    add("--shuffle", action="store_true", help="shuffle each split (class folders always are)")
    add("--seed", type=int, default=0, help="of the shuffle, the copies and a split of class folders (default: 0)")
    add("--augment", type=_between(1, 20), default=0, metavar="K", help="K moved copies of each Training image")
    add("--rotation", type=float, metavar="D", help="of copies, degrees to either side (default: 15)")
    add("--shift", type=float, metavar="S", help="of copies, as a share of the side (default: 0.1)")
    add("--scale", type=float, metavar="S", help="of copies, 1 / (1 + S) to 1 + S times as large (default: 0.1)")
    add("--drop-leaks", action="store_true", help="leave Training images out that also lie in a test split")
    add("--title", help="what figures call the data (FER2013 is recognised)")
    add("--force", action="store_true", help="rebuild even when up to date")
    add("--json", action="store_true", help="print the manifest as JSON")
    parser.set_defaults(run=_prepare)


def _train_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--net", help="a shipped net (lenet, alexnet, vgg8, ...) or a train_val.prototxt")
    add("--solver", help="one of the net's solvers (s1, s2, ...) or a solver.prototxt")
    add("--data", type=Path, default=Path("data/fer2013"), metavar="DIR", help="data directory (default: %(default)s)")
    add("--name", help="name of the run directory (default: <net>-<solver>)")
    add("--max-iter", type=_between(1, 2**31 - 1), metavar="N", help="stop after N iterations (default: the solver's)")
    add("--seed", type=_between(0, 2**31 - 1), help="random_seed: makes the run repeatable")
    add(
        "--patience",
        type=_between(0, 2**31 - 1),
        metavar="N",
        help="end once N tests in a row have not beaten the best accuracy on val, whose snapshot is kept; 0: do not",
    )
    add("--gpu", type=_gpus, metavar="N", help="train on GPU N; 0,1 or all: on several, each with the net's batch")
    add("--precision", choices=["fp32", "tf32", "bf16"], help="arithmetic of the PyTorch engine (default: fp32)")
    add("--shuffle", action="store_true", help="a new order of the images each epoch (the PyTorch engine)")
    add("--weights", type=Path, metavar="F", help="start from the weights of a .caffemodel")
    add("--resume", type=Path, metavar="RUN", help="go on with a run from its newest verified snapshot")
    add("--approximate-resume", action="store_true", help="let FER_CAFFE's own caffe resume in mid-epoch")
    add(
        "--engine",
        choices=["auto", "caffe", "pytorch"],
        default="auto",
        help="what trains; auto: Caffe, but PyTorch for what the Caffe found cannot do (default: %(default)s)",
    )
    add("--json", action="store_true", help="print run.json at the end")
    parser.set_defaults(run=_train)


def _report_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUN", help="run directories (default: the newest in runs/)")
    add("--log", type=Path, metavar="FILE", help="report on any Caffe log alone")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/report)")
    add("--ten-crop", action="store_true", help="also average ten crops (corners, centre, mirrored) of each image")
    add("--ensemble", action="store_true", help="report the RUNs as one net: the mean of their probabilities")
    add("--snapshot", metavar="N", help="score iteration N, or average_M-N of fer average; not the best on val")
    add("--json", action="store_true", help="print metrics.json")
    parser.set_defaults(run=_report)


def _average_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN", help="a run directory")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=_between(2, 2**31 - 1), metavar="K", help="its last K snapshots (default: 5)")
    which.add_argument("--from", dest="first", type=_between(1, 2**31 - 1), metavar="N", help="all from iteration N on")
    add("--batches", type=_between(1, 2**31 - 1), metavar="N", help="for BatchNorm's statistics (default: an epoch)")
    add("--json", action="store_true", help="print what run.json says of the mean")
    parser.set_defaults(run=_average)


def _infogain_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="the file to write, say smooth.binaryproto")
    add("--smoothing", type=_share, default=0.0, metavar="E", help="share of the target that all classes have alike")
    add("--balance", type=Path, metavar="DIR", help="weight classes by inverse frequency in this data directory")
    parser.set_defaults(run=_infogain)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to less than 1")
    return value


def _between(low: int, high: int) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not in {low}..{high}")
        return value

    return number


def _gpus(text: str) -> str:
    words = text.split(",")
    if text != "all" and (not all(map(str.isdecimal, words)) or len(set(words)) < len(words)):
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers, each once, as 0 or 0,1, or all")
    return text


def _prepare(args: argparse.Namespace) -> int:
    from fer.affine import Affine
    from fer.audit import audit_text
    from fer.prepare import PrepareOptions, prepare
    from fer.terminal import StageBars

    ranges = {name: getattr(args, name) for name in ("rotation", "shift", "scale") if getattr(args, name) is not None}
    if ranges and not args.augment:
        raise UsageError(f"--{min(ranges)} is for copies of images: give --augment K with it.")
    options = PrepareOptions(
        jpeg_quality=args.jpeg_quality,
        resize=args.resize,
        encoded=args.encoded,
        shuffle=args.shuffle,
        seed=args.seed,
        drop_leaks=args.drop_leaks,
        title=args.title,
        augment=args.augment,
        affine=Affine(**ranges),
    )
    with StageBars("images") as progress:
        outcome = prepare(args.source, args.out, options, force=args.force, progress=progress)
    if args.json:
        print(json.dumps(outcome.manifest, indent=2))
    elif outcome.up_to_date:
        print(f"{args.out} is up to date (--force rebuilds).")
    else:
        print(audit_text(outcome.manifest["audit"]))
        if copies := outcome.manifest["copies"]:
            print(f"{copies:,} moved copies of Training images lie in train")
        print(
            f"{args.out} is ready ({outcome.seconds:.1f} s). Next: fer train --net lenet --solver s2 --data {args.out}"
        )
    return 0


def _train(args: argparse.Namespace) -> int:
    from fer.display import TrainingDisplay
    from fer.train import resume, train

    if args.resume is None and not (args.net and args.solver):
        raise UsageError(
            "fer train needs --net and --solver (or --resume RUN).\nExample: fer train --net lenet --solver s2"
        )
    own = (args.net, args.solver, args.weights, args.name, args.shuffle, args.seed is not None)
    if args.resume is not None and any(own):
        raise UsageError("--resume RUN goes on with that run's own net, solver, name and seed: leave the others out.")
    with TrainingDisplay() as display:
        if args.resume is not None:
            run = resume(
                args.resume,
                max_iter=args.max_iter,
                patience=args.patience,
                gpu=args.gpu,
                precision=args.precision,
                engine=args.engine,
                progress=display,
                approximate=args.approximate_resume,
            )
        else:
            run = train(
                args.net,
                args.solver,
                args.data,
                name=args.name,
                max_iter=args.max_iter,
                seed=args.seed,
                gpu=args.gpu,
                precision=args.precision or "fp32",
                shuffle=args.shuffle,
                weights=args.weights,
                patience=args.patience,
                engine=args.engine,
                progress=display,
            )
    if args.json:
        print(json.dumps(run.info, indent=2))
    else:
        done, seconds = run.info["iteration"], run.info["seconds"]
        early = f"; {run.info['ended']}" if done < run.info["max_iter"] else ""
        print(f"{run.dir}: {done:,} iterations in {seconds:,.0f} s{early}. Next: fer report {run.dir}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from fer.report import build_ensemble, build_report, report_log, summary_text

    if args.log is not None:
        if args.runs:
            raise UsageError("Give either RUN directories or --log FILE.")
        result = report_log(args.log, args.out or args.log.with_name(args.log.name + ".report"))
    elif args.ensemble:
        if len(args.runs) < 2:
            raise UsageError("An ensemble needs two runs or more: fer report --ensemble RUN RUN ...")
        result = build_ensemble(_scored_runs(args), args.out)
    else:
        result = build_report(_scored_runs(args), args.out)
    print(json.dumps(result, indent=2) if args.json else summary_text(result))
    return 0


def _scored_runs(args: argparse.Namespace) -> list[Any]:
    from fer.run import Run, newest_run
    from fer.score import score_run
    from fer.terminal import StageBars

    runs = [Run(directory) for directory in args.runs] or [newest_run(Path("runs"))]
    for run in runs:
        with StageBars() as progress:
            score_run(run, ten_crop=args.ten_crop, snapshot=args.snapshot, progress=progress)
    return runs


def _average(args: argparse.Namespace) -> int:
    from fer.average import average_run
    from fer.run import Run
    from fer.terminal import StageBars

    run = Run(args.run_dir)
    with StageBars("batches") as progress:
        made = average_run(run, last=args.last, first=args.first, batches=args.batches, progress=progress)
    entry = run.info["averages"][made.name]
    if args.json:
        print(json.dumps(entry, indent=2))
    else:
        of = ", ".join(f"{iteration:,}" for iteration in made.averaged)
        statistics = f", BatchNorm's statistics of {entry['batches']:,} batches" if entry["batches"] else ""
        print(f"{made.weights}: the mean of snapshots {of}{statistics}. Next: fer report {run.dir}")
    return 0


def _infogain(args: argparse.Namespace) -> int:
    from fer.data_directory import read_manifest
    from fer.dataset import CLASSES
    from fer.infogain import infogain_matrix, write_infogain

    if not args.smoothing and args.balance is None:
        raise UsageError("Give --smoothing E, --balance DIR or both: without them H is SoftmaxWithLoss.")
    counts = None if args.balance is None else read_manifest(args.balance)["splits"]["train"]["class_counts"]
    matrix = infogain_matrix(len(CLASSES), args.smoothing, counts)
    write_infogain(args.out, matrix)
    for name, row in zip(CLASSES, matrix, strict=True):
        print(f"{name:9}" + "".join(f"{value:8.4f}" for value in row))
    print(f'{args.out} is ready. Next: infogain_loss_param {{ source: "{args.out}" }} (see fer infogain --help)')
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from fer.doctor import examine, findings_text

    findings = examine()
    print(json.dumps([vars(f) for f in findings], indent=2) if args.json else findings_text(findings))
    return 0 if all(f.ok for f in findings if f.needed) else 1


def _stop_cleanly(signal_number: int, _frame: object) -> NoReturn:
    raise Interrupted(f"stopped by {signal.Signals(signal_number).name}", signal_number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (0 done, 1 the user can fix it, 2 usage, 70 our bug, 130/143 stopped)."""
    from fer import terminal

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        signal.signal(signal.SIGTERM, _stop_cleanly)
        args = _parser().parse_args(arguments)
        return args.run(args)
    except FerError as problem:
        _show(debug)
        terminal.error(str(problem))
        return problem.exit_code
    except KeyboardInterrupt:
        terminal.error("stopped by Ctrl-C; nothing half-written was left behind")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our output went away (`fer report | head`): no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        _show(debug)
        terminal.error(f"{problem.strerror or problem}: {problem.filename or ''}".rstrip(": "))
        return 1
    except Exception as problem:
        _show(debug)
        where = traceback.extract_tb(problem.__traceback__)[-1]
        what = textwrap.shorten(f"a bug in fer: {type(problem).__name__}: {problem}", 400)
        terminal.error(
            f"{what}\nat {Path(where.filename).name}:{where.lineno}. Please report it with what --debug prints."
        )
        return 70


def _show(debug: bool) -> None:
    if debug:
        traceback.print_exc()
