"""The command line: the commands of fer.commands, and what becomes of their errors."""

import argparse
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fer import __version__
from fer.commands import average, doctor, export, infogain, predict, prepare, report, schedule, train
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
    for module in (prepare, train, report, average, export, predict, schedule, infogain, doctor):
        options = commands.add_parser(
            module.__name__.rpartition(".")[2],
            help=module.SUMMARY,
            description=module.HELP,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(options)
    return parser


def _stop_cleanly(signal_number: int, _frame: object) -> NoReturn:
    raise Interrupted(f"stopped by {signal.Signals(signal_number).name}", signal_number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (0 done, 1 the user can fix it, 2 usage, 70 our bug, 130/143 stopped)."""
    from fer.commands import terminal

    arguments = list(sys.argv[1:] if argv is None else argv)
    terminal.show_any_text(arguments)
    debug = "--debug" in arguments
    try:
        signal.signal(signal.SIGTERM, _stop_cleanly)
        args = _parser().parse_args(arguments)
        code: int = args.run(args)
        return code
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
    except UnicodeEncodeError as problem:
        _show(debug)
        terminal.error(
            f"{problem.object!r} cannot be written in this locale's encoding ({sys.getfilesystemencoding()})\n"
            "take a locale of UTF-8 (LC_ALL=C.UTF-8), or a name without such characters"
        )
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
        from fer.commands import terminal

        terminal.say(traceback.format_exc().rstrip())
