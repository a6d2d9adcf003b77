"""fer export: a run's chosen net as files for other programs."""

import argparse
from pathlib import Path

from fer.commands.terminal import show

SUMMARY = "a run's net as files for Caffe, OpenCV and ONNX"
HELP = """\
examples:
  fer export runs/lenet-s2
  fer export runs/lenet-s2 --out lenet

Writes the snapshot that is best on val: deploy.prototxt, weights.caffemodel, mean, labels.txt, model.onnx, and a
README.md with the lines that use them from pycaffe, OpenCV and onnxruntime. Every program at hand that reads them
must first give the run's own probabilities on val.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_directory", type=Path, metavar="RUN", help="a run directory")
    add("--data", type=Path, metavar="DIR", help="where the data that RUN was trained on are now")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/export)")
    add("--no-onnx", action="store_true", help="leave model.onnx out")
    add("--json", action="store_true", help="print model.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.runs.opened import open_runs

    (run,) = open_runs([args.run_directory], Path("runs"), args.data)  # before what takes longer to import
    from fer.commands.terminal import StageBars
    from fer.data.dataset import SPLIT_NAMES
    from fer.export.exported import export_run
    from fer.runs.opened import scores_can_be_kept
    from fer.system.records import encode_record

    out = args.out or args.run_directory / "export"
    with scores_can_be_kept(run, asked=args.out is not None), StageBars() as progress:
        record = export_run(run, out, onnx=not args.no_onnx, progress=progress)
    if args.json:
        show(encode_record(record).decode(), end="")
        return 0
    show(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    snapshot, val = record.snapshot, record.accuracy["val"]
    of = f"the mean of {len(snapshot.averaged)} snapshots" if snapshot.averaged else f"iteration {snapshot.iteration:,}"
    figures = ", ".join(
        f"{100 * each.accuracy:.2f}% on {SPLIT_NAMES[split]}" for split, each in record.accuracy.items()
    )
    show(f"Exported: {of}: {figures}")
    images = val.images
    show(f"Largest difference from the run's own probabilities, over {images:,} images of val:")
    for name, difference in record.largest_difference_on_val.items():
        show(f"  {name:24}{difference:.1e}")
    for name, reason in record.not_checked.items():
        show(f"  {name:24}not tried: {reason}")
    return 0
