"""Pictures with the faces' boxes and labels drawn in: image files and videos that never take an input's place."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fer.errors import FerError, UsageError
from fer.inference.faces import Box, Picture, overlap
from fer.inference.media import Source
from fer.inference.predict import Face, Result
from fer.system.files import beside, is_writable, write_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
COLOUR, DARK = (90, 220, 90), (20, 20, 20)  # BGR
FONT, SMALLEST_TEXT = cv2.FONT_HERSHEY_SIMPLEX, 0.35


class Annotator:
    """Writes what it is given to `out`: a file where there is one source and the name fits, else a folder.

    In a folder the files are called as the inputs, with .jpg behind other names than .jpg, .png and .bmp, and videos
    ending in .mp4 or .avi. A context manager, at whose end a video is whole; one that an exception ends leaves nothing,
    and of a video that is cut off there is what could be read. Raises UsageError where `out` does not suit, or a file
    would take the place of an input or of another. `written` are the files that it has begun.
    """

    def __init__(self, out: Path, sources: Sequence[Source], *, many: bool):
        self._targets = _targets(out, sources, many)
        self._video: cv2.VideoWriter | None = None
        self._source: Source | None = None
        self._file: Path | None = None
        self._at_end = contextlib.ExitStack()
        self.written: set[Path] = set()

    def __enter__(self) -> "Annotator":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._end(whole=kind is None)

    def add(self, result: Result) -> None:
        """Draw a result and write it. Raises FerError."""
        drawn = draw(result.picture, result.faces)
        target = self._targets[result.source]
        self.written.add(target)
        if result.picture.frame is None:
            write_bytes(target, cv2.imencode(target.suffix.lower(), drawn)[1].tobytes(), parents=True)
            return
        if result.source is not self._source:
            self._end()
            self._begin(result.source, drawn, result.picture.rate)
        assert self._video is not None
        self._video.write(drawn)

    def _begin(self, source: Source, first: np.ndarray, rate: float) -> None:
        target, size = self._targets[source], (first.shape[1], first.shape[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        codec = cv2.VideoWriter.fourcc(*CODECS[target.suffix.lower()])
        folder = self._at_end.enter_context(beside(target, f"{target}: another process is writing it. Wait for it"))
        self._file = folder / target.name  # in a folder of its own, as OpenCV would follow a link
        self._video = cv2.VideoWriter(str(self._file), codec, rate, size)
        self._source = source
        if not self._video.isOpened():
            self._end(whole=False)
            raise FerError(f"cannot write {target}: OpenCV cannot make such a video there")

    def _end(self, whole: bool = True) -> None:
        """Close the video at work, if any: it gets its name, or is gone."""
        if self._video is None or self._source is None or self._file is None:
            return
        target, file = self._targets[self._source], self._file
        self._video.release()
        self._video = self._source = self._file = None
        with self._at_end.pop_all():
            if whole:
                file.replace(target)


def draw(picture: Picture, faces: Sequence[Face]) -> np.ndarray:
    """The picture, BGR uint8 [H, W, 3], with a box around each face and above it the likeliest class.

    Labels lie within the picture, and below the box, or within it, where there is another above.
    """
    assert picture.colour is not None
    drawn = picture.colour.copy()
    line = max(1, round(min(drawn.shape[:2]) / 400))
    for box in (face.box for face in faces):
        cv2.rectangle(drawn, (box.x, box.y), (box.x + box.width - 1, box.y + box.height - 1), COLOUR, line)
    taken: list[Box] = []
    for face in faces:
        number = "" if face.track is None else f"{face.track} "
        text = f"{number}{face.label} {face.probabilities[face.label]:.0%}"
        taken.append(_draw_label(drawn, text, face.box, taken))
    return drawn


def _draw_label(drawn: np.ndarray, text: str, face: Box, taken: Sequence[Box]) -> Box:
    """Write a text beside a face, apart from the labels that are `taken`; where it stands."""
    height, width = drawn.shape[:2]
    unit = min(height, width) / 720
    size = max(SMALLEST_TEXT, min(max(face.width / 220, 0.45 * unit), 0.9 * unit))
    size = min(size, size * width / (cv2.getTextSize(text, FONT, size, 1)[0][0] + 8))  # no wider than the picture
    weight = max(1, round(1.5 * size))
    (wide, high), below = cv2.getTextSize(text, FONT, size, weight)
    wide, high = min(wide + below, width), high + 2 * below
    left = min(face.x, width - wide)
    foot = face.y + face.height
    tops = [top for top in (face.y - high, foot, face.y, foot - high) if 0 <= top <= height - high]
    places = [Box(left, top, wide, high) for top in tops or [0]]
    free = (place for place in places if not any(overlap(place, other) for other in taken))
    place = next(free, places[0])
    cv2.rectangle(drawn, (left, place.y), (left + wide - 1, place.y + high - 1), COLOUR, cv2.FILLED)
    cv2.putText(drawn, text, (left + below // 2, place.y + high - below), FONT, size, DARK, weight, cv2.LINE_AA)
    return place


def _targets(out: Path, sources: Sequence[Source], many: bool) -> dict[Source, Path]:
    """Where each source's drawing goes. Raises UsageError."""
    if many and out.exists() and not out.is_dir():
        raise UsageError(f"--annotate {out}: must be a folder, as several pictures are to be written")
    inputs = {file_id(source.path) for source in sources if source.path is not None and source.path.exists()}
    writers: dict[Path, Source] = {}
    for source in sources:
        if source.fault:
            continue
        target = out / _drawn_name(source) if many or out.is_dir() or not out.suffix else out
        if target is out:
            _check_name(out, source)
        if target.exists() and file_id(target) in inputs:
            raise UsageError(f"--annotate {out}: {target} is one of the pictures to read; name another place")
        if target.is_dir() or not is_writable(target.parent):
            raise UsageError(f"--annotate {out}: {target} cannot be written; name another place")
        if target in writers:
            both = f"{writers[target].name}\n{source.name}"
            raise UsageError(f"--annotate {out}: two pictures would both become {target.relative_to(out)}:\n{both}")
        writers[target] = source
    return {source: target for target, source in writers.items()}


def file_id(path: Path) -> tuple[int, int]:
    """The same for every name of a file."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _drawn_name(source: Source) -> Path:
    """A source's name in a folder of drawings."""
    if source.is_video and source.within.suffix.lower() not in CODECS:
        return source.within.with_suffix(".mp4")
    name = source.within.name
    return (
        source.within if source.is_video or name.lower().endswith(PICTURES) else source.within.with_name(f"{name}.jpg")
    )


def _check_name(out: Path, source: Source) -> None:
    fits = out.suffix.lower() in CODECS if source.is_video else out.name.lower().endswith(PICTURES)
    if not fits:
        names = ".mp4 or .avi" if source.is_video else ".jpg, .png or .bmp"
        raise UsageError(f"--annotate {out}: its name must end in {names}, or be that of a folder")
