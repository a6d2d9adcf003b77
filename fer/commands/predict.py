"""fer predict: expressions of the faces in photos, videos and a camera's frames."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.commands.terminal import say_out, show, width
from fer.errors import UsageError
from fer.system.escapes import escaped

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    from fer.inference.classifier import Model
    from fer.inference.media import Source
    from fer.inference.predict import Face, Failure, Result

SUMMARY = "expressions of the faces in photos and videos"
HELP = """\
examples:
  fer predict photo.jpg
  fer predict holiday/ --annotate holiday-faces
  fer predict clip.mp4 --model runs/lenet-s2 --json
  fer predict --webcam
  fer predict face.png --no-detect

Finds faces (upright and frontal ones, by OpenCV's cascade) and gives each the probabilities of the classes, in
percent. Photos are in any format that OpenCV reads (of animations the first frame), turned upright as their EXIF
orientation says.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="PATH", help="images, videos, and folders of them")
    add("--model", type=Path, metavar="DIR", help="a scored run, or what fer export wrote (default: the shipped model)")
    add("--webcam", nargs="?", const=0, type=int, metavar="N", help="look through camera N (default: 0) until Ctrl-C")
    add("--no-detect", action="store_true", help="each picture is one face already, closely cropped")
    add("--detector", type=Path, metavar="FILE", help="find faces with a YuNet file (.onnx) of your own")
    add("--annotate", type=Path, metavar="OUT", help="draw boxes and labels: an image, a video or a folder to write")
    add("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not args.paths and args.webcam is None:
        raise UsageError("fer predict needs pictures: give a PATH, or --webcam\nExample: fer predict photo.jpg")
    if args.no_detect and args.detector:
        raise UsageError("--no-detect looks for no faces, so it takes no --detector: leave one of them out.")
    # OpenCV and FFmpeg have words of their own for a bad file, besides our line; they look here when they are loaded.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from fer.commands import terminal
    from fer.inference.annotate import Annotator
    from fer.inference.classifier import Classifier, find_model
    from fer.inference.faces import Cascade, YuNet, whole
    from fer.inference.media import find_sources
    from fer.inference.predict import Failure, predict

    classifier = Classifier(find_model(args.model))
    detect = whole if args.no_detect else YuNet(args.detector) if args.detector else Cascade()
    found = find_sources(args.paths, args.webcam, args.annotate and args.annotate.resolve())
    sources = found.sources
    for note in found.notes:
        terminal.say(note)
    failures = faces = 0
    with contextlib.ExitStack() as stack:
        table = _Table(classifier.model, with_place=not args.no_detect)
        shown = stack.enter_context(_Document(classifier.model)) if args.json else table
        annotator = None
        if args.annotate:
            many = len(sources) > 1 or any(path.is_dir() for path in args.paths)
            annotator = stack.enter_context(Annotator(args.annotate, sources, many=many))
        try:
            for result in predict(sources, classifier, detect, colour=bool(args.annotate or args.detector)):
                if isinstance(result, Failure):
                    failures += 1
                    terminal.error(f"{escaped(result.source.name)}: {result.reason}")
                    shown.failed(result)
                    continue
                faces += len(result.faces)
                if annotator:
                    annotator.add(result)
                shown.add(result)
        except KeyboardInterrupt:  # the way to end a camera
            if args.webcam is None:
                raise
        shown.end()
    if annotator and annotator.written:
        count = len(annotator.written)
        terminal.say(f"drawn in: {args.annotate}" + (f" ({count:,} files)" if count > 1 else ""))
    if not faces and failures < len(sources):
        terminal.say("No face was found. (A picture that is a face, closely cropped: --no-detect.)")
    return 1 if failures else 0


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
            self._line(numbers, face, f"{escaped(result.source.name)}{frame}{place}")
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


class _Document:
    """One JSON document at the end: {"model", "images": [...], "videos": [...], "errors": [...]}.

    What there is to say of a long film is laid aside on disk, not in memory.
    """

    def __init__(self, model: Model):
        self._images, self._videos, self._errors, self._frames = (_JsonList(indent) for indent in (2, 2, 2, 6))
        self._video: Source | None = None
        self._about: dict[str, Any] = {}
        self._model = str(model.directory)

    def add(self, result: Result) -> None:
        picture = result.picture
        faces = [
            {"box": vars(face.box), "label": face.label, "probabilities": face.probabilities} for face in result.faces
        ]
        height, width = picture.gray.shape
        about = {"path": result.source.name, "width": width, "height": height}
        if picture.frame is None:
            self._images.add({**about, "faces": faces})
            return
        if result.source is not self._video:
            self._end_video()
            self._video, self._about = result.source, {**about, "frames_per_second": picture.rate}
        self._frames.add({"frame": picture.frame, "faces": faces})

    def _end_video(self) -> None:
        if self._video is not None:
            self._videos.add(self._about, frames=self._frames)
            self._frames.clear()
            self._video = None

    def failed(self, failure: Failure) -> None:
        self._errors.add({"path": failure.source.name, "error": failure.reason})

    def __enter__(self) -> _Document:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for items in (self._images, self._videos, self._errors, self._frames):
            items.close()

    def end(self) -> None:
        self._end_video()
        show(f'{{\n  "model": {json.dumps(self._model)},')
        for name, ends, items in (
            ("images", ",", self._images),
            ("videos", ",", self._videos),
            ("errors", "", self._errors),
        ):
            show(f'  "{name}": ', end="")
            items.write_to(sys.stdout)
            show(ends)
        show("}")


class _JsonList:
    """A list of a JSON document, indented by so many spaces; a long one lies in a temporary file."""

    def __init__(self, indent: int):
        self._text = tempfile.SpooledTemporaryFile(1 << 20, "w+", encoding="ascii")  # noqa: SIM115 -- lives as long as this
        self._margin = " " * indent
        self._begun = False

    def add(self, item: dict[str, Any], **lists: _JsonList) -> None:
        """Append an item, whose last fields may be lists of this kind."""
        self._text.write(",\n" if self._begun else "[\n")
        self._begun = True
        self._text.write(textwrap.indent(json.dumps(item, indent=2).removesuffix("\n}"), self._margin + "  "))
        for name, members in lists.items():
            self._text.write(f',\n{self._margin}    "{name}": ')
            members.write_to(self._text)
        self._text.write(f"\n{self._margin}  }}")

    def write_to(self, stream: SupportsWrite[str]) -> None:
        """The list; more may be added afterwards."""
        self._text.seek(0)
        shutil.copyfileobj(self._text, stream)
        stream.write(f"\n{self._margin}]" if self._begun else "[]")

    def clear(self) -> None:
        """Make it an empty list."""
        self._text.seek(0)
        self._text.truncate()
        self._begun = False

    def close(self) -> None:
        self._text.close()
