"""What fer predict writes besides what it prints: --csv, --crops, --timeline; and how far it is."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from fer.commands import terminal
from fer.errors import UsageError
from fer.inference.annotate import file_id
from fer.inference.face_table import Crops, FaceTable
from fer.inference.media import Source
from fer.inference.predict import Failure, Result
from fer.report.plots.timeline import Track, plot_timeline
from fer.system.escapes import escaped
from fer.system.files import is_writable, write_bytes
from fer.system.plural import counted

FIGURES = (".png", ".svg")


class Outputs:
    """A context manager; `end` writes what there is. Raises UsageError where a name does not suit."""

    def __init__(self, args: argparse.Namespace, sources: Sequence[Source], classes: Sequence[str]):
        _check_names(args, sources)
        self._classes, self._args = classes, args
        self._at_end = contextlib.ExitStack()
        self._table = self._at_end.enter_context(FaceTable(classes)) if args.csv else None
        self._crops = self._at_end.enter_context(Crops(args.crops, classes)) if args.crops else None
        self._tracks: dict[int, Track] = {}
        self._bars = self._at_end.enter_context(terminal.StageBars("frames", {"pictures": "pictures"}))
        self._images, self._done = sum(not source.is_video for source in sources), 0

    def __enter__(self) -> Outputs:
        self._at_end.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._at_end.__exit__(kind, error, trace)

    def add(self, result: Result) -> None:
        """A picture's faces. Raises FerError where they cannot be written."""
        if self._crops:
            self._crops.add(result)
        for face in result.faces:
            if self._table:
                self._table.add(result, face)
            if self._args.timeline and face.track is not None:
                track = self._tracks.setdefault(face.track, Track(face.track))
                track.seconds.append(result.picture.seconds)
                track.probabilities.append([face.probabilities[name] for name in self._classes])
        frame, frames = result.picture.frame, result.picture.frames
        if frame is None:
            self._count_image()
        elif frame < frames:
            self._bars(escaped(result.source.name), frame + 1, frames)

    def failed(self, failure: Failure) -> None:
        """It is done; of a video what came before is written."""
        if not failure.source.is_video:
            self._count_image()

    def _count_image(self) -> None:
        self._done += 1
        if self._images > 1:
            self._bars("pictures", min(self._done, self._images), self._images)

    def end(self) -> None:
        """Write the files whose name is theirs at the end, and say where they are."""
        self._bars.close()
        if self._table:
            self._table.write(self._args.csv)
            terminal.say(f"a row for each face in: {self._args.csv}")
        if self._args.timeline:
            from fer.report.plots.look import render

            path: Path = self._args.timeline
            title = " ".join(str(source) for source in self._args.paths) or "webcam"
            figure = plot_timeline(list(self._tracks.values()), self._classes, title)
            write_bytes(path, render(figure, path.suffix.lower()[1:]), parents=True)
            terminal.say(f"timeline drawn in: {path}")
        if self._crops:
            cure = "(sorted into folders named as their classes, they are what fer prepare takes)"
            count = self._crops.count
            terminal.say(f"{counted(count, 'face')} in: {self._args.crops}" + (f"  {cure}" if count else ""))


def _is_folder_to_write(folder: Path) -> bool:
    return is_writable(folder) and (folder.is_dir() or not folder.exists())


def _check_names(args: argparse.Namespace, sources: Sequence[Source]) -> None:
    outs = {"--csv": args.csv, "--timeline": args.timeline, "--crops": args.crops, "--annotate": args.annotate}
    given = {option: path for option, path in outs.items() if path}
    if args.csv and args.csv.suffix.lower() != ".csv":
        raise UsageError(f"--csv {args.csv}: its name must end in .csv")
    if args.timeline:
        if args.timeline.suffix.lower() not in FIGURES:
            raise UsageError(f"--timeline {args.timeline}: its name must end in .png or .svg")
        if len(sources) != 1 or not sources[0].is_video:
            raise UsageError(f"--timeline {args.timeline}: is drawn of one video: give one, and nothing else")
    inputs = {file_id(source.path) for source in sources if source.path is not None and source.path.exists()}
    for option, path in given.items():
        if option == "--annotate":
            continue
        if path.exists() and file_id(path) in inputs:
            raise UsageError(f"{option} {path}: is one of the pictures to read; name another place")
        if (path.is_dir() and option != "--crops") or not _is_folder_to_write(path.parent):
            raise UsageError(f"{option} {path}: cannot be written; name another place")
    if len({path.resolve() for path in given.values()}) < len(given):
        raise UsageError(f"{' and '.join(given)}: two of them are to be written to one place")
