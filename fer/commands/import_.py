"""fer import: a training made elsewhere, by any Caffe, as a run directory."""

import argparse
from pathlib import Path

from fer.commands.numbers import over_0
from fer.commands.terminal import say, show

DATA = Path("data/fer2013")
SUMMARY = "a training made elsewhere as a run directory"
HELP = """\
examples:
  fer import job.tar.gz
  fer import old-training/ --labels Angry,Disgust,Fear,Happy,Sad,Surprise,Neutral --name old
  fer import deploy.prototxt weights.caffemodel --mean mean.npy --labels labels.txt --name theirs

Takes a folder, an archive or single files of a training made by any Caffe (BVLC, NVCaffe, a DIGITS job): train_val or
deploy, solver, .caffemodel and .solverstate (binary or HDF5, old formats too), log, mean, labels.txt. Each file is
recognised by its content, and named. Makes a run directory that fer report, train --resume, average, export and predict
take like any other: it is scored on the data directory's images, which are brought to the net's input as its own
transform says. Its classes are matched by labels.txt (Anger is Angry); without one --labels says their order.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="folders, archives or files of one training")
    add("--net", metavar="FILE", help="of several nets this one: a train_val.prototxt, or a deploy.prototxt alone")
    add("--solver", metavar="FILE", help="of several solvers this one")
    add("--log", metavar="FILE", help="of several logs this one")
    add("--mean", metavar="M", help="the mean: a .binaryproto, a .npy, or numbers as 104,117,123")
    add("--labels", metavar="L", help="the net's classes in its own order: a labels.txt, or names as Angry,Disgust,...")
    add("--scale", type=over_0, metavar="X", help="what pixels are multiplied by, where a deploy net is all there is")
    add("--data", type=Path, default=DATA, metavar="DIR", help="score and train it on these (default: %(default)s)")
    add("--name", help="name of the run directory (default: what was given)")
    add("--allow-python-layers", action="store_true", help="let Caffe import the modules of a net's own Python layers")
    add("--json", action="store_true", help="print run.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.imports.importing import Wanted, import_training
    from fer.imports.parts import Options
    from fer.system.plural import counted
    from fer.system.records import encode_record
    from fer.system.shell import command

    options = Options(args.net, args.solver, args.log, args.mean, args.labels)
    wanted = Wanted(options, name=args.name, scale=args.scale, python_layers=args.allow_python_layers)
    run = import_training(args.paths, args.data, wanted, say)
    record, made = run.record, run.record.imported
    assert made is not None
    if args.json:
        show(encode_record(record).decode(), end="")
        return 0
    for file in made.files:
        show(f"  {file.part:24}{file.file}")
    show(f"{run.dir}: {made.images}; classes in its own order: {', '.join(made.classes)}")
    for note in record.notes:
        show(note)
    states = sum(files.state is not None for files in record.snapshots.values())
    last = f", the last of iteration {record.iteration:,}" if record.iteration else ""
    show(f"{counted(len(record.snapshots), 'snapshot')}{last}; {states} with the solver's state")
    show(f"Next: {command('fer', 'report', run.dir)}")
    return 0
