"""fer doctor: what is installed, and what to do about what is not."""

import argparse
import json

from fer.commands.terminal import show, width

SUMMARY = "what is installed, and what to do about it"
HELP = """\
examples:
  fer doctor
  fer doctor --json

Says what was found (versions, Caffe, GPU, disk) and what to do about what is missing.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.findings import examine, findings_text

    findings = examine()
    show(json.dumps([vars(f) for f in findings], indent=2) if args.json else findings_text(findings, width()))
    return 0 if all(f.ok for f in findings if f.needed) else 1
