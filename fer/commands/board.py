"""fer board: a page of runs, data and faces that lives."""

import argparse
import importlib.util
from pathlib import Path

from fer.commands.numbers import between
from fer.errors import FerError
from fer.system.shell import pip_install

SUMMARY = "a page to watch trainings, compare runs, look at data, try a photo"
HELP = """\
examples:
  fer board
  fer board runs --data data/fer2013 --open
  fer board --host 0.0.0.0            # for other machines too: the address printed then holds a token

Serves pages at http://127.0.0.1:8013 until Ctrl-C: the runs as they are trained, by whatever process; curves, one run's
and several against each other; the faces, what is wrong with the data, what a scored run said of each; a photo or the
webcam. It reads run and data directories alone and changes nothing in them, and shows the command for each next step.
"""
PACKAGES = ("starlette", "uvicorn", "youplot")


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", nargs="?", type=Path, default=Path("runs"), metavar="RUNS_DIR", help="default: %(default)s")
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="a data directory to look at, besides those that the runs were trained on",
    )
    add("--port", type=between(0, 65535), default=8013, metavar="N", help="default: %(default)s; 0 takes a free one")
    add(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="listen there and ask for a token (default: %(default)s)"
    )
    add("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise FerError(f"fer board needs {', '.join(missing)}: {pip_install('fer-caffe[board]')}")
    from fer.board.server import Server
    from fer.commands.terminal import show

    server = Server(args.folder, args.data, args.host, args.port)
    show(f"{server.address}\nCtrl-C ends it; trainings go on without it")
    if args.open:
        import webbrowser

        webbrowser.open(server.address)
    server.run()
    return 0
