"""fer export: a run's chosen net as files for other programs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.terminal import show, width
from fer.errors import FerError, UsageError

if TYPE_CHECKING:
    from fer.export.form import Form
    from fer.export.tool import Tool
    from fer.inference.model_record import ModelRecord

SUMMARY = "a run's net as files for Caffe, OpenCV, ONNX and devices"
HELP = """\
examples:
  fer export runs/lenet-s2
  fer export runs/lenet-s2 --out lenet
  fer export runs/lenet-s2 --format onnx-int8,ncnn-int8 --fold
  fer export --compare runs/lenet-s2/export

Writes the snapshot that is best on val: deploy.prototxt, weights.caffemodel, mean, labels.txt, model.onnx, and a
README.md with the lines that use them from pycaffe, OpenCV and onnxruntime. Every program at hand that reads them
must first give the run's own probabilities on val.

--format adds forms, each proved on val by its own runtime: onnx-fp16, onnx-int8, ncnn, ncnn-int8, openvino,
openvino-int8, rknn (RK3588; rknn-rk3566, rknn-rv1106, ...), kmodel (K210), whose tools come from PyPI into environments
of their own, pinned and checked by hash; keras, savedmodel, tflite, tflite-int8, tflite-uint8, whose TensorFlow fer's
extra brings. Integers are calibrated with 300 Training images, and must give the run's own class for 97% of val.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run_directory", type=Path, metavar="RUN", help="a run directory")
    add("--data", type=Path, metavar="DIR", help="where the data that RUN was trained on are now")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN/export)")
    add("--no-onnx", action="store_true", help="leave model.onnx out")
    add("--batch", type=int, metavar="N", help="how many images model.onnx takes at once (default: any)")
    add("--fold", action="store_true", help="the net without BatchNorm and Scale layers, too, in folded/")
    add("--format", metavar="NAME,...", help="forms besides, as onnx-int8,ncnn,tflite")
    add("--yes", action="store_true", help="fetch what writes them without asking")
    add("--compare", action="store_true", help="RUN is an export: print the table of its forms")
    add("--json", action="store_true", help="print model.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from fer.export.forms import forms_called
    from fer.runs.opened import open_runs

    if args.batch is not None and args.batch < 1:
        raise UsageError(f"--batch {args.batch}: it must be 1 or more")
    if args.compare:
        return _compare(args.run_directory, as_json=args.json)
    asked = [] if args.no_onnx else ["onnx"]
    asked += [] if args.format is None else [name.strip() for name in args.format.split(",")]
    forms = forms_called(asked)
    (run,) = open_runs([args.run_directory], Path("runs"), args.data)  # before what takes longer to import
    from fer.commands.terminal import StageBars
    from fer.export.exported import export_run
    from fer.runs.opened import scores_can_be_kept
    from fer.system.records import encode_record

    fetch(forms, yes=args.yes)
    out = args.out or run.export_dir
    with scores_can_be_kept(run, asked=args.out is not None), StageBars() as progress:
        record = export_run(run, out, forms=asked, fold=args.fold, batch=args.batch, progress=progress)
    if args.json:
        show(encode_record(record).decode(), end="")
        return 0
    _tell(record, out)
    return 0


def _tell(record: "ModelRecord", out: Path) -> None:
    from fer.data.dataset import SPLIT_NAMES
    from fer.export.readme import table_of
    from fer.runs.record import average_text
    from fer.system.plural import counted

    show(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    snapshot, val = record.snapshot, record.accuracy["val"]
    averaged = snapshot.averaged
    of = f"the {average_text(averaged)}" if averaged else f"iteration {snapshot.iteration:,}"
    figures = ", ".join(
        f"{100 * each.accuracy:.2f}% on {SPLIT_NAMES[split]}" for split, each in record.accuracy.items()
    )
    show(f"Exported: {of}: {figures}")
    show(f"Largest difference from the run's own probabilities, over {counted(val.images, 'image')} of val:")
    for name, difference in record.largest_difference_on_val.items():
        show(f"  {name:24}{difference:.1e}")
    for name, reason in record.not_checked.items():
        show(f"  {name:24}not tried: {reason}")
    if set(record.forms) - {"onnx"}:
        show("\n".join(table_of(record).text(width())))


def _compare(directory: Path, *, as_json: bool) -> int:
    from fer.export.readme import table_of
    from fer.inference.model_record import MODEL_JSON, read_model_json
    from fer.runs.run import EXPORT
    from fer.system.records import encode_record

    folder = directory if (directory / MODEL_JSON).is_file() else directory / EXPORT
    if not (folder / MODEL_JSON).is_file():
        raise FerError(f"{directory}: no export, and none in it; fer export RUN --format NAME,... makes one")
    record = read_model_json(folder)
    if as_json:
        show(encode_record(record).decode(), end="")
    elif record.forms:
        show("\n".join(table_of(record).text(width())))
    else:
        raise FerError(f"{folder} has no forms for devices; fer export RUN --format NAME,... adds them")
    return 0


def fetch(forms: Sequence["Form"], *, yes: bool) -> None:
    """Set up what writes and reads the forms; asks before a byte is fetched. Raises FerError where it may not."""
    tools = [form.tool for form in forms if form.tool]
    missing: dict[str, Tool] = {tool.name: tool for tool in tools if not tool.is_there()}
    if not missing:
        return
    names = ", ".join(f"{tool.title} ({tool.megabytes} MB)" for tool in missing.values())
    if not yes:
        if not sys.stdin.isatty():
            raise FerError(f"{names} must be fetched first, into an environment of its own, once\nadd --yes for that")
        print(f"fetch {names} from PyPI into an environment of its own? [Y/n] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("", "y", "yes"):
            raise FerError("nothing was fetched, and nothing was written")
    for tool in missing.values():
        tool.find(lambda text: print(text, file=sys.stderr, flush=True))
