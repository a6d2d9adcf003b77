"""fer report: runs scored once, and their report."""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.terminal import StageBars, say, show, width
from fer.errors import FerError, UsageError

if TYPE_CHECKING:
    from fer.report.results import AnyResult
    from fer.runs.run import Run

SUMMARY = "score a run and draw its report"
HELP = """\
examples:
  fer report runs/alexnet-s3
  fer report runs/alexnet-s1 runs/alexnet-s2 runs/alexnet-s3
  fer report --ensemble runs/vgg8-s1 runs/vgg8-s2 --ten-crop
  fer report runs/recipe-a runs/recipe-b --val-only
  fer report runs/alexnet-s1 runs/alexnet-s2 --format latex
  fer report --log caffe.log --out caffe-log-report

Scores each image of val (PublicTest) and test (PrivateTest) once, with the snapshot that is best
on val, and writes metrics.json, CSVs, figures and report.html. No RUN: the newest one in runs/.
--ensemble reports several runs as one net, their probabilities averaged. A report of val alone does not take the place
of a whole one. A run that cannot be written is reported with --out.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUN", help="run directories (default: the newest in runs/)")
    add("--log", type=Path, metavar="FILE", help="report on any Caffe log alone")
    add("--data", type=Path, metavar="DIR", help="where the data that the RUNs were trained on are now")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/report)")
    add("--ten-crop", action="store_true", help="also average ten crops (corners, centre, mirrored) of each image")
    add("--ensemble", action="store_true", help="report the RUNs as one net: the mean of their probabilities")
    add("--snapshot", metavar="N", help="score iteration N, or average_M-N of fer average; not the best on val")
    add("--val-only", action="store_true", help="leave test (PrivateTest) unscored: while a recipe is being chosen")
    add(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="also write the RUNs' curves, figures and results for TensorBoard",
    )
    add("--allow-python-layers", action="store_true", help="let Caffe import the modules of a net's own Python layers")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print metrics.json")
    shown.add_argument("--format", choices=["markdown", "latex", "csv"], help="print the table of the RUNs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.log is not None:
        return _report_log(args)
    # What is wrong with the words is said before anything heavy is imported, or done.
    from fer.report.files import check_place, report_folder
    from fer.runs.opened import open_runs, scores_can_be_kept

    if args.ensemble and len(args.runs) < 2:
        raise UsageError("An ensemble needs two runs or more: fer report --ensemble RUN RUN ...")
    if args.tensorboard:
        from fer.evaluation.event_file import check_tensorboard

        check_tensorboard(args.tensorboard)
    runs = open_runs(args.runs, Path("runs"), args.data)
    kind = "ensemble" if args.ensemble else "compare"
    out = args.out or report_folder(runs, kind, val_only=args.val_only)
    check_place(out)
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(scores_can_be_kept(run, asked=args.out is not None))
        _score(runs, args)
        result = _report(runs, out, args)
        if args.tensorboard:
            from fer.report.tensorboard import write_tensorboard

            write_tensorboard(runs, args.tensorboard, val_only=args.val_only)
    _show(result, args)
    return 0


def _report(runs: "Sequence[Run]", out: Path, args: argparse.Namespace) -> "AnyResult":
    """The report that was asked for; one that is there already and would come out the same is not made again."""
    from fer.report.kept import find_report

    kept = find_report(runs, out, ensemble=args.ensemble, val_only=args.val_only)
    if kept is not None:
        return kept
    from fer.report.build import build_ensemble, build_report  # they take seconds to import

    build = build_ensemble if args.ensemble else build_report
    return build(runs, out, val_only=args.val_only)


def _report_log(args: argparse.Namespace) -> int:
    of_runs = {"RUN": args.runs, "--val-only": args.val_only, "--format": args.format, "--ensemble": args.ensemble}
    of_runs |= {"--ten-crop": args.ten_crop, "--snapshot": args.snapshot, "--data": args.data}
    of_runs |= {"--tensorboard": args.tensorboard}
    of_runs |= {"--allow-python-layers": args.allow_python_layers}
    if given := [name for name, value in of_runs.items() if value]:
        raise UsageError(f"--log FILE reports on a log alone: leave {', '.join(given)} out.")
    if not args.log.is_file():
        raise FerError(f"{args.log}: no such file")
    from fer.report.files import check_place

    out = args.out or args.log.with_name(args.log.name + ".report")
    check_place(out)
    from fer.report.build import report_log

    _show(report_log(args.log, out), args)
    return 0


def _show(result: "AnyResult", args: argparse.Namespace) -> None:
    from fer.report.tables import runs_of
    from fer.report.text import summary_text
    from fer.system.records import encode_record

    if args.format:
        for warning in result.warnings:
            say(f"WARNING: {warning}")
        show(getattr(runs_of(result), args.format)(), end="")
    else:
        show(encode_record(result).decode().rstrip() if args.json else summary_text(result, width()))


def _score(runs: "Sequence[Run]", args: argparse.Namespace) -> None:
    from fer.evaluation.score import score_run

    for run in runs:
        with StageBars() as progress:
            again = score_run(
                run,
                ten_crop=args.ten_crop,
                snapshot=args.snapshot,
                val_only=args.val_only,
                python_layers=args.allow_python_layers,
                explain=len(runs) == 1,  # no other report shows it
                progress=progress,
            )
        for line in again:
            say(f"{run.dir}: {line}")
