"""The command line: the commands of fer.commands, and what becomes of their errors."""

import argparse
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from fer import __version__
from fer.commands import (
    average,
    board,
    caffe,
    distill,
    doctor,
    export,
    import_,
    infogain,
    nets,
    predict,
    prepare,
    report,
    runs,
    schedule,
    train,
)
from fer.commands.words import command_hint, option_hint
from fer.errors import Faults, FerError, Interrupted, UsageError
from fer.nets.zoo import net_names

COMMANDS = {
    module.__name__.rpartition(".")[2].rstrip("_"): module  # a word of Python's has one behind it
    for module in (
        prepare,
        train,
        report,
        average,
        distill,
        export,
        import_,
        predict,
        nets,
        runs,
        board,
        schedule,
        infogain,
        caffe,
        doctor,
    )
}  # fmt: skip

STOPPED = 128 + signal.SIGINT
MOST_FAULTS = 20  # lines of those found at once; any other error has three
MAIN_HELP = """\
examples:
  fer prepare fer2013.csv                      Kaggle's CSV -> data/fer2013 (JPGs, index files, LMDBs, mean)
  fer train lenet                              train in runs/lenet-s2 with real Caffe
  fer report runs/lenet-s2                     accuracy, confusion matrix, ROC, curves, report.html
  fer export runs/lenet-s2                     the net for pycaffe, OpenCV and ONNX, each proved on val
  fer import job.tar.gz                        a training made elsewhere (a DIGITS job, a folder of 2016) as a run
  fer predict photo.jpg                        the faces in a photo, each with the probabilities of the classes
  fer nets                                     the nets and solvers that come with fer
  fer runs                                     the trainings in runs/, newest first
  fer board                                    a page to watch trainings, compare runs, look at data, try a photo
  fer doctor                                   what is installed, and what to do about what is not
"""


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError, so that every error looks alike. `commands`: the parsers of the commands."""

    commands: dict[str, "Parser"]

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nSee {self.prog} --help.")

    @property
    def options(self) -> list[str]:
        """Names of its options, each with its dashes."""
        return list(self._option_string_actions)


def _parser() -> Parser:
    common = Parser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    parser = Parser(
        prog="fer",
        description=f"FER2013 faces from Kaggle's CSV to a trained Caffe network and an honest report.\n\n{MAIN_HELP}",
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"fer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        options = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.HELP,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(options)
    parser.commands = commands.choices
    return parser


def _parse(words: list[str]) -> argparse.Namespace:
    """The command line's meaning. Raises UsageError, SystemExit once help or the version is shown."""
    parser = _parser()
    first = next((number for number, word in enumerate(words) if not word.startswith("-")), len(words))
    options = {name: each.options for name, each in parser.commands.items()}
    for unknown in _unknown_options(words[:first], parser.options):
        parser.error(f"fer has no option {unknown}{option_hint(unknown, '', {**options, '': parser.options})}")
    match words[first:]:
        case []:
            parser.parse_known_args(words if words and words != ["--debug"] else ["--help"])
        case ["version", *_]:
            parser.parse_args(["--version"])
        case ["help", *rest]:
            return _parse([*rest[:1], "--help"])
        case [command, *rest] if command in COMMANDS:
            for unknown in _unknown_options(rest, options[command]):
                hint = option_hint(unknown, command, options)
                parser.commands[command].error(f"fer {command} has no option {unknown}{hint}")
            args, more = parser.parse_known_args(words)
            if more:
                parser.commands[command].error(f"{' '.join(more)}: more than fer {command} takes")
            return args
        case [command, *_]:
            raise UsageError(
                f"no command {command!r}{command_hint(command, COMMANDS, net_names())}; there are {', '.join(COMMANDS)}"
                "\nSee fer --help."
            )
    parser.error(f"no command; there are {', '.join(COMMANDS)}")


def _unknown_options(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """Words that argparse takes for an option, and that are neither one nor the beginning of one."""
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        looks_so = name.startswith("-") and name != "-" and " " not in name and not _is_number(name)
        if looks_so and not any(option.startswith(name) for option in options):
            yield name


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


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
        args = _parse(arguments)
        code: int = args.run(args)
        return code
    except FerError as problem:
        _show(debug)
        if problem.exit_code == STOPPED:  # on purpose, which is no error
            terminal.say(str(problem))
        else:
            terminal.error(str(problem), MOST_FAULTS if isinstance(problem, Faults) else 3)
        return problem.exit_code
    except KeyboardInterrupt:
        terminal.say("stopped by Ctrl-C; nothing half-written was left behind")
        return STOPPED
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
