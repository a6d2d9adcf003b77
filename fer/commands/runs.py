"""fer runs: the trainings in a folder."""

import argparse
import json
from pathlib import Path

SUMMARY = "the trainings in runs/, newest first"
HELP = """\
examples:
  fer runs
  fer runs --sort accuracy
  fer runs --json

Lists each run of a folder: its state, iterations, best accuracy on val (PublicTest), engine and data.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="default: %(default)s")
    add("--sort", choices=["newest", "accuracy"], default="newest", help="what comes first (default: %(default)s)")
    add("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.terminal import error, show, width
    from fer.report.run_list import list_runs, run_list_table

    found, faults = list_runs(args.folder)
    if args.sort == "accuracy":
        found.sort(key=lambda each: -1.0 if each.val_accuracy is None else each.val_accuracy, reverse=True)
    if args.json:
        show(json.dumps([vars(each) for each in found], indent=2))
    elif found:
        show("\n".join(run_list_table(found).text(width())))
    elif not faults:
        show(f"no run in {args.folder}/; fer train lenet makes one")
    for fault in faults:
        error(fault)
    return 1 if faults else 0
