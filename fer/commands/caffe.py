"""fer caffe: real Caffe from its sources, for this Python, its libraries and its GPUs."""

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.numbers import positive
from fer.commands.terminal import StageBars, say, show
from fer.errors import FerError, Interrupted, UsageError

if TYPE_CHECKING:
    from fer.engines.caffe_build.builds import Build

SUMMARY = "build real Caffe from its sources: BatchNorm, and today's GPUs"
HELP = """\
examples:
  fer caffe build
  fer caffe build --source caffe --test
  fer caffe build --no-root
  fer caffe build --gpu --arch 90 120
  fer caffe list
  fer caffe remove gpu

build: BVLC Caffe 1.0 for the Python that runs fer, in two minutes on two quiet cores (--gpu: CUDA's compiler and
libraries come from PyPI, 1.1 GB, and it takes some minutes more). It looks first, and prints one line to paste for what
is missing; a stopped build is gone on with. What was built is proved against the other engines, and taken by fer train
from then on: it trains BatchNorm, which the wheel does not. FER_CAFFE and FER_CAFFE_PYTHON go before it.
list: what is built. remove: all of it, or one of cpu and gpu.
"""
ACTIONS = ("build", "list", "remove")


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=ACTIONS, help="build, list or remove")
    add("which", nargs="?", choices=("cpu", "gpu"), help="of remove: which build (default: both)")
    add("--gpu", action="store_true", help="build for NVIDIA's GPUs, and for the CPU beside it")
    add(
        "--arch",
        type=positive,
        nargs="+",
        metavar="N",
        help="GPUs to build for: 80 86 89 90 100 120 (default: those here)",
    )
    add("--cudnn", action="store_true", help="with NVIDIA's cuDNN, from PyPI too (0.5 GB more)")
    add("--source", type=Path, metavar="DIR", help="Caffe's sources (default: from its git)")
    add("--prefix", type=Path, metavar="DIR", help="build in DIR/cpu and DIR/gpu (default: the user's data folder)")
    add(
        "--no-root", action="store_true", help="unpack what is missing of Debian's packages into the build's own folder"
    )
    add(
        "--without", nargs="+", choices=("opencv", "leveldb"), metavar="LIBRARY",
        help="leave out a library that Caffe can do without: opencv, leveldb",
    )  # fmt: skip
    add("--test", action="store_true", help="run Caffe's own unit tests too, for the CPU")
    add("--jobs", type=positive, metavar="N", help="compilers at a time (default: a core each, as memory allows)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    build_only = {"--gpu", "--arch", "--cudnn", "--source", "--prefix", "--no-root", "--without", "--test", "--jobs"}
    if args.action != "build":
        given = [name for name in sorted(build_only) if getattr(args, name[2:].replace("-", "_"))]
        if given:
            raise UsageError(f"{given[0]} is of fer caffe build")
    if args.action != "remove" and args.which:
        raise UsageError(f"fer caffe {args.action} takes no {args.which}" + (": give --gpu" * (args.which == "gpu")))
    if (args.arch or args.cudnn) and not args.gpu:
        raise UsageError(f"{'--arch' if args.arch else '--cudnn'} is of a GPU build: give --gpu with it")
    return {"build": _build, "list": _list, "remove": _remove}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    from fer.engines.caffe_build.build import BuildOptions, Missing, build
    from fer.engines.caffe_build.builds import all_builds, home
    from fer.engines.caffe_build.needs import install_line

    options = BuildOptions(
        gpu=args.gpu, arch=tuple(args.arch or ()), cudnn=args.cudnn, source=args.source, prefix=args.prefix,
        no_root=args.no_root, without=tuple(args.without or ()), test=args.test, jobs=args.jobs or 0,
    )  # fmt: skip
    try:
        with StageBars() as bars:
            made = build(options, say, bars)
    except KeyboardInterrupt:
        raise Interrupted("stopped by Ctrl-C; the same command goes on with it", signal.SIGINT) from None
    except Missing as missing:
        say(str(missing))
        if not missing.packages:
            raise FerError(
                "it is in no package: a Python built with --enable-shared (uv's and Debian's are) has it"
            ) from missing
        show(install_line(missing.packages))
        cure = ": --no-root does not mend that" if args.no_root else ", or give --no-root"
        raise FerError(f"paste the line above{cure}; then run this again") from missing
    found = {each.folder.resolve() for each in all_builds()[0]}
    for each in made:
        show(f"{each.folder} is ready: {each}")
        if each.folder.resolve() not in found:
            other = home() / each.record.kind
            show(f"{other} is taken before it: fer caffe remove {each.record.kind}, then this again, has it found")
    show("Next: fer train vgg8 --engine caffe")
    return 0


def _list(args: argparse.Namespace) -> int:
    from fer.engines.caffe_build import builds

    found, passed_over = builds.all_builds()
    taken = [each.folder for each in builds.candidates()[:1]]
    for each in found:
        show(_line(each, each.folder in taken))
    for folder in builds.unfinished_builds():
        show(f"{folder}: unfinished; fer caffe build goes on with it")
    for fault in passed_over:
        say(fault)
    if not found:
        show(
            "nothing is built: fer train takes the wheel's Caffe, whose BatchNorm does not train (see fer caffe --help)"
        )
    return 0


def _line(build: "Build", taken: bool) -> str:
    libraries = [sentence.partition(" is ")[0] for sentence in build.record.without]
    lacks = f"; without {', '.join(libraries)}" if libraries else ""
    return f"{build.folder}: {build}, of {build.record.date}{lacks}{' (fer train takes it)' if taken else ''}"


def _remove(args: argparse.Namespace) -> int:
    from fer.engines.caffe_build import builds

    kinds = [args.which] if args.which else list(builds.KINDS)
    places = [builds.home() / kind for kind in kinds]
    there = [(place, builds.remove) for place in places if place.exists() or place.is_symlink()]
    there += [(path, builds.remove_unfinished) for path in map(builds.unfinished, places) if path.exists()]
    if not there:
        raise FerError(f"there is nothing to remove: no {' and no '.join(kinds)} build in {builds.home()}")
    for path, remove in there:
        remove(path)
        show(f"removed {path}")
    return 0
