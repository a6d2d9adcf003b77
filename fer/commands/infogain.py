"""fer infogain: the matrix of Caffe's InfogainLoss."""

import argparse
import json
from pathlib import Path

from fer.commands.numbers import power, share
from fer.commands.terminal import show
from fer.errors import UsageError

SUMMARY = "label smoothing and class weights for InfogainLoss"
HELP = """\
examples:
  fer infogain smooth.binaryproto --smoothing 0.1
  fer infogain own.binaryproto --smoothing 0.1 --data data/fer2013
  fer infogain balanced.binaryproto --balance data/fer2013 --power 0.5 --smoothing 0.1

Writes the matrix H of Caffe's InfogainLoss: label smoothing, class weights by inverse frequency, or both.
Then, in train_val.prototxt, the loss of the TRAIN phase reads it (SoftmaxWithLoss stays for TEST):

  layer { name: "loss" type: "InfogainLoss" bottom: "ip2" bottom: "label" top: "loss" include { phase: TRAIN }
    infogain_loss_param { source: "smooth.binaryproto" } }
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="the file to write, say smooth.binaryproto")
    add("--smoothing", type=share, default=0.0, metavar="E", help="share of the target that all classes have alike")
    add("--balance", type=Path, metavar="DIR", help="weight classes by inverse frequency in this data directory")
    add("--data", type=Path, metavar="DIR", help="a data directory of other classes than FER2013's")
    add("--power", type=power, metavar="P", help="of that frequency: 1 (default), or less for softer weights")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.data.classes import CLASSES
    from fer.data.manifest import read_manifest
    from fer.nets.infogain import infogain_matrix, write_infogain
    from fer.system.escapes import escaped

    if not args.smoothing and args.balance is None:
        raise UsageError("give --smoothing E, --balance DIR or both: without them H is SoftmaxWithLoss.")
    if args.balance is not None and args.data is not None:
        raise UsageError("--balance DIR names the data directory already: leave --data out.")
    if args.power is not None and args.balance is None:
        raise UsageError("--power is of the class frequencies: give --balance DIR with it.")
    data = args.balance or args.data
    manifest = None if data is None else read_manifest(data)
    classes = manifest.classes if manifest else CLASSES
    counts = manifest.splits["train"].class_counts if manifest and args.balance else None
    matrix = infogain_matrix(len(classes), args.smoothing, counts, 1.0 if args.power is None else args.power)
    write_infogain(args.out, matrix)
    wide = max(map(len, map(escaped, classes)))
    for name, row in zip(classes, matrix, strict=True):
        show(f"{escaped(name):{wide}}" + "".join(f"{value:8.4f}" for value in row))
    source = json.dumps(str(args.out), ensure_ascii=False)  # quoted as in a prototxt
    show(f"{args.out} is ready. Next: infogain_loss_param {{ source: {source} }} (see fer infogain --help)")
    return 0
