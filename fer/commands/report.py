"""fer report: runs scored once, and their report."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.commands.terminal import say, show
from fer.errors import UsageError

if TYPE_CHECKING:
    from fer.report.results import AnyResult

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
--ensemble reports several runs as one net, their probabilities averaged.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUN", help="run directories (default: the newest in runs/)")
    add("--log", type=Path, metavar="FILE", help="report on any Caffe log alone")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/report)")
    add("--ten-crop", action="store_true", help="also average ten crops (corners, centre, mirrored) of each image")
    add("--ensemble", action="store_true", help="report the RUNs as one net: the mean of their probabilities")
    add("--snapshot", metavar="N", help="score iteration N, or average_M-N of fer average; not the best on val")
    add("--val-only", action="store_true", help="leave test (PrivateTest) unscored: while a recipe is being chosen")
    add("--allow-python-layers", action="store_true", help="let Caffe import the modules of a net's own Python layers")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print metrics.json")
    shown.add_argument("--format", choices=["markdown", "latex", "csv"], help="print the table of the RUNs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.terminal import width
    from fer.report.tables import runs_of
    from fer.report.text import summary_text
    from fer.system.records import encode_record

    if args.log is not None and (args.runs or args.val_only or args.format):
        raise UsageError("--log FILE reports on a log alone: leave RUN, --val-only and --format out.")
    if args.ensemble and args.log is None and len(args.runs) < 2:
        raise UsageError("An ensemble needs two runs or more: fer report --ensemble RUN RUN ...")
    result = _report(args)
    if args.format:
        for warning in result.warnings:
            say(f"WARNING: {warning}")
        show(getattr(runs_of(result), args.format)(), end="")
    else:
        show(encode_record(result).decode().rstrip() if args.json else summary_text(result, width()))
    return 0


def _report(args: argparse.Namespace) -> "AnyResult":
    """The report that was asked for; one that is there already and would come out the same is not made again."""
    from fer.report.kept import find_report

    if args.log is not None:
        from fer.report.build import report_log

        return report_log(args.log, args.out or args.log.with_name(args.log.name + ".report"))
    runs = _scored_runs(args)
    kept = find_report(runs, args.out, ensemble=args.ensemble, val_only=args.val_only)
    if kept is not None:
        return kept
    from fer.report.build import build_ensemble, build_report  # they take seconds to import

    build = build_ensemble if args.ensemble else build_report
    return build(runs, args.out, val_only=args.val_only)


def _scored_runs(args: argparse.Namespace) -> list[Any]:
    from fer.commands.terminal import StageBars
    from fer.evaluation.score import score_run
    from fer.runs.run import Run, newest_run

    runs = [Run(directory) for directory in args.runs] or [newest_run(Path("runs"))]
    for run in runs:
        with StageBars() as progress:
            again = score_run(
                run,
                ten_crop=args.ten_crop,
                snapshot=args.snapshot,
                val_only=args.val_only,
                python_layers=args.allow_python_layers,
                progress=progress,
            )
        for line in again:
            say(f"{run.dir}: {line}")
    return runs
