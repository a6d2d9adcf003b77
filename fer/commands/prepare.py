"""fer prepare: a source of faces as a data directory."""

import argparse
import contextlib
from pathlib import Path

from fer.commands.numbers import between, percentages, positive
from fer.commands.terminal import say_out, show, width
from fer.data.options import JPEG_QUALITY, MAX_COPIES, RESIZE, Affine, PrepareOptions
from fer.errors import FerError, UsageError

SUMMARY = "CSV or folders -> JPGs, index files, LMDBs, mean"
HELP = r"""examples:
  fer prepare fer2013.csv
  fer prepare archive.zip --drop-leaks --out data/clean
  fer prepare fer2013.csv --resize 256 --out data/fer2013-256
  fer prepare fer2013.csv --augment 4 --out data/fer2013-x5
  fer prepare fer2013.csv --votes fer2013new.csv --min-votes 5 --out data/ferplus
  fer prepare CK+48/ --split 80/10/10 --group '^(S\d+)_' --out data/ck
  fer prepare RAF-DB/ --classes 1=Surprise,2=Fear,3=Disgust,4=Happy,5=Sad,6=Angry,7=Neutral --out data/raf

Turns FER2013 (fer2013.csv or icml_face_data.csv, plain, in a folder or in .gz .bz2 .xz .zip .tar, or
class folders) into a data directory that fer and every Caffe tool reads. Class folders hold images of any
size in the formats that OpenCV reads; where validation or test is missing, the other of the two is halved.
Folders named otherwise than FER2013's seven classes are classes of their own, 2 to 100, sorted by name. --classes sets
names and order: what the source calls them, or, where it calls them 1, 2, 3, what that means.
With --votes (FER+'s fer2013new.csv to Kaggle's fer2013.csv) the classes are the columns of votes, an image's class that
with most of them, and train_votes_lmdb holds each image's shares as targets (fer nets NET --copy FOLDER --votes).
The copies of --augment lie shuffled among the images of train (folder, index, database, mean); val and
test have none.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        type=Path,
        help="fer2013.csv, icml_face_data.csv, an archive of either, or class folders",
    )
    add("--out", type=Path, default=Path("data/fer2013"), help="the data directory (default: %(default)s)")
    add("--jpeg-quality", type=between(*JPEG_QUALITY), default=100, metavar="Q", help="1..100 (default: %(default)s)")
    add("--resize", type=between(*RESIZE), metavar="N", help="store N x N images in the databases (alexnet227: 256)")
    add("--encoded", action="store_true", help="store JPEG bytes in the databases")
    add("--shuffle", action="store_true", help="shuffle each split (class folders always are)")
    add("--seed", type=int, default=0, help="of --shuffle, --augment and class folders (default: 0)")
    add("--augment", type=between(1, MAX_COPIES), default=0, metavar="K", help="K moved copies of each Training image")
    add("--rotation", type=float, metavar="D", help="of copies, degrees to either side (default: 15)")
    add("--shift", type=float, metavar="S", help="of copies, as a share of the side (default: 0.1)")
    add("--scale", type=float, metavar="S", help="of copies, 1 / (1 + S) to 1 + S times as large (default: 0.1)")
    add(
        "--classes",
        metavar="A,B,C",
        help="names of the classes in order, or a file with one a line; KEY=NAME for codes",
    )
    add(
        "--split",
        type=percentages,
        default=(),
        metavar="80/10/10",
        help="divide a source without splits, by class, in percent",
    )
    add(
        "--group", metavar="REGEX", help="of --split: its first group in a file's name is the person, kept in one split"
    )
    add("--votes", type=Path, metavar="FILE", help="a CSV of votes as FER+'s: a row for each of the source's, in order")
    add("--min-votes", type=positive, default=1, metavar="N", help="leave images out whose class has less (default: 1)")
    add("--drop-leaks", action="store_true", help="leave Training images out that also lie in a test split")
    add("--title", help="what figures call data that are not FER2013 (default: the name of SOURCE)")
    add("--force", action="store_true", help="rebuild even when up to date, or made from something else")
    add("--json", action="store_true", help="print the manifest as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.commands.terminal import StageBars
    from fer.data.audit import audit_text
    from fer.data.classes import CLASSES, read_classes
    from fer.data.directory import WouldReplaceError
    from fer.data.prepare import prepare
    from fer.system.records import encode_record
    from fer.system.shell import command

    ranges = {name: getattr(args, name) for name in ("rotation", "shift", "scale") if getattr(args, name) is not None}
    if ranges and not args.augment:
        raise UsageError(f"--{min(ranges)} is for copies of images: give --augment K with it.")
    classes = () if args.classes is None else read_classes(args.classes)
    options = PrepareOptions(
        jpeg_quality=args.jpeg_quality,
        resize=args.resize,
        encoded=args.encoded,
        shuffle=args.shuffle,
        seed=args.seed,
        drop_leaks=args.drop_leaks,
        title=args.title,
        augment=args.augment,
        affine=Affine(**ranges),
        classes=classes,
        split=args.split,
        group=args.group,
        votes=None if args.votes is None else str(args.votes),
        min_votes=args.min_votes,
    )
    with StageBars("images", {"unpacking": "B", "reading": "B"}) as progress:
        try:
            outcome = prepare(args.source, args.out, options, force=args.force, progress=progress)
        except WouldReplaceError as error:
            raise FerError(f"{error}\n{_trained_on(args.out)}take another --out, or --force to replace it") from None
    if args.json:
        show(encode_record(outcome.manifest).decode(), end="")
    elif outcome.up_to_date:
        show(f"{args.out} is up to date (--force rebuilds).")
    else:
        if outcome.manifest.audit:
            show(audit_text(outcome.manifest.audit, width(), outcome.manifest.classes))
        for note in outcome.manifest.notes:
            say_out(note)
        if copies := outcome.manifest.copies:
            show(f"{copies:,} moved copies of Training images lie in train")
        following = command("fer", "train", "lenet", "--data", args.out)
        if (count := len(outcome.manifest.classes)) != len(CLASSES):  # those of the shipped nets
            following = command("fer", "nets", "lenet", "--copy", "mynet", "--classes", count)
        show(f"{args.out} is ready ({outcome.seconds:.1f} s). Next: {following}")
    return 0


def _trained_on(data: Path) -> str:
    """A line that names the runs that a data directory is needed by; nothing where none is found."""
    from fer.runs.run import RUN_JSON, Run

    folders = {folder.resolve() for folder in (Path("runs"), data.resolve().parent.parent / "runs")}
    users = []
    for path in sorted(found for folder in folders for found in folder.glob(f"*/{RUN_JSON}")):
        with contextlib.suppress(FerError):
            if Path(Run(path.parent).record.data.dir).resolve() == data.resolve():
                users.append(path.parent.name)
    if not users:
        return ""
    named = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
    return f"{named} {'was' if len(users) == 1 else 'were'} trained on it, and cannot go on or be scored without it; "
