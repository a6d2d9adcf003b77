"""The options of the verbs of core/tool.py."""

import argparse
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fer.engines.core.framework import Framework
from fer.engines.core.signals import EFFECTS
from fer.engines.engine import PRECISIONS


@dataclass(frozen=True)
class OwnVerb:
    """A verb of one framework alone."""

    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


NO_OTHERS: Mapping[str, OwnVerb] = MappingProxyType({})


def parse(
    framework: Framework, words: Sequence[str], known: Collection[str], others: Mapping[str, OwnVerb]
) -> argparse.Namespace:
    """The options of one of the `known` verbs, or of the framework's own others. Exits with 2 where they are wrong."""
    # Caffe's own flags may have one dash.
    words = [f"-{word}" if re.match(r"-[a-z]\w", word) else word for word in words]
    parser = argparse.ArgumentParser(
        prog=f"python -m {framework.program}",
        description=f"Caffe's command line on {framework.name}.",
        epilog=framework.epilog,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join((*known, *others)))
    for name, other in others.items():
        other.add_options(verbs.add_parser(name, allow_abbrev=False))
    for name in known:
        verb = verbs.add_parser(name, allow_abbrev=False)
        verb.add_argument("--gpu", help="0, or 0,1, or all: batch size times the number of GPUs; default the CPU")
        if name in ("layers", "doctor", "gpu", "device_query"):
            continue
        verb.add_argument("--precision", choices=PRECISIONS, default="fp32")
        verb.add_argument("--stage", action="append", default=[], help="net stages, separated by commas")
        verb.add_argument("--level", type=int, default=0, help="net level")
        _add_options(name, verb)
    return parser.parse_args(words)


def _add_options(name: str, verb: argparse.ArgumentParser) -> None:
    if name == "train":
        verb.add_argument("--solver", required=True)
        verb.add_argument("--snapshot", help="a .solverstate to go on from")
        verb.add_argument("--weights", help=".caffemodel files to start from, separated by commas")
        verb.add_argument("--ema", type=float, help="keep an exponential average of the weights, with this decay")
        verb.add_argument("--sigint_effect", choices=EFFECTS, default="stop")
        verb.add_argument("--sighup_effect", choices=EFFECTS, default="snapshot")
    else:
        verb.add_argument("--model", type=Path, required=True)
    if name in ("time", "describe", "batch"):
        verb.add_argument("--phase", choices=("TRAIN", "TEST"), required=name != "time")
    if name in ("test", "time"):
        verb.add_argument("--iterations", type=int, default=50)
    if name in ("test", "average", "grad_cam"):
        verb.add_argument("--weights", required=True)
    if name == "average":
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--iterations", type=int, help="batches for BatchNorm's statistics; default: an epoch")
    if name == "batch":
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--seed", type=int, default=-1)
    if name in ("predict", "grad_cam"):
        verb.add_argument("--source", type=Path, required=True)
        verb.add_argument("--transform", default="", metavar="TEXT", help="a TransformationParameter's prototxt")
    if name == "grad_cam":
        verb.add_argument("--out", type=Path, required=True)
        verb.add_argument("--classes", required=True, help="the number of a class for each image")
    if name == "predict":
        for option in ("weights", "out"):
            verb.add_argument(f"--{option}", type=Path, action="append", required=True, help="once for each answer")
        verb.add_argument("--ten-crop", "--ten_crop", action="store_true")
