"""fer export: a run's chosen net as files for other programs."""

import argparse
from pathlib import Path

from fer.commands.terminal import show

SUMMARY = "a run's net as files for Caffe, OpenCV and ONNX"
HELP = """\
examples:
  fer export runs/lenet-s2
  fer export runs/lenet-s2 --out lenet
  fer export runs/lenet-s2 --format tflite,tflite-int8

Writes the snapshot that is best on val: deploy.prototxt, weights.caffemodel, mean, labels.txt, model.onnx, and a
README.md with the lines that use them from pycaffe, OpenCV and onnxruntime; with --format, files for Keras, TensorFlow
and TFLite too, whose TensorFlow fer's extra brings. Every program at hand that reads them must first give the run's own
probabilities on val; what calculates in integers (tflite-int8), 97% of its classes.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_directory", type=Path, metavar="RUN", help="a run directory")
    add("--data", type=Path, metavar="DIR", help="where the data that RUN was trained on are now")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/export)")
    add("--format", metavar="F[,F]", help="forms besides: keras, savedmodel, tflite, tflite-int8")
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
        record = export_run(run, out, forms=_forms(args), progress=progress)
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
    for name, form in record.forms.items():
        if form.integers:
            alike = f"{100 * form.agreement:.2f}% of the classes as the run's own"
            show(f"{form.file} ({name}): {100 * form.accuracy:.2f}% on PublicTest, {alike}, {form.bytes:,} bytes")
    return 0


def _forms(args: argparse.Namespace) -> list[str]:
    asked = [] if args.format is None else [name.strip() for name in args.format.split(",")]
    return asked if args.no_onnx else ["onnx", *asked]
