"""What a user names on the command line as pictures: image files, videos, folders of both, a camera."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from fer.data.image_file import decode_image, is_image_name
from fer.formats.image_header import MAX_PIXELS
from fer.inference.faces import Picture
from fer.system.folders import contents

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
MAX_BYTES = 200_000_000
"""A larger image file is refused unread."""
USUAL_RATE = 25.0
MAX_FRAMES = 1e9
"""A header that promises more is not believed."""
CUT = 0.1
"""Of some formats the length is only known from the sound's: a video may be shorter by this share."""


class UnreadableError(Exception):
    """Why a source cannot be read, in a few words."""


@dataclass(frozen=True)
class Source:
    """An image, a video or a camera. `name` is how the user knows it, `within` its path below the folder named.

    `fault` says why there is nothing to read.
    """

    name: str
    within: Path
    path: Path | None = None
    camera: int | None = None
    fault: str = ""

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.camera is not None or self.within.suffix.lower() in VIDEOS

    def pictures(self, colour: bool = False) -> Iterator[Picture]:
        """Its picture or its frames, with `colour` too. Raises UnreadableError."""
        if self.fault:
            raise UnreadableError(self.fault)
        if self.path is not None and not self.path.is_file():  # a named pipe would be waited for
            raise UnreadableError("not a file")
        yield from self._frames(colour) if self.is_video else self._image(colour)

    def _image(self, colour: bool) -> Iterator[Picture]:
        assert self.path is not None
        try:
            if (size := self.path.stat().st_size) > MAX_BYTES:
                raise UnreadableError(f"a file of {size:,} bytes; more than {MAX_BYTES:,} are not read")
            file = self.path.read_bytes()
        except OSError as error:
            raise UnreadableError(f"cannot be read: {error.strerror or error}") from None
        yield decode_picture(file, colour=colour)

    def _frames(self, colour: bool) -> Iterator[Picture]:
        with self._opened() as capture:
            width, height = (capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"frames of {width:,.0f} x {height:,.0f} pixels are too large")
            rate = capture.get(cv2.CAP_PROP_FPS)
            rate = rate if 0 < rate < 1000 else USUAL_RATE
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if self.camera is None else 0
            count = int(count) if 0 < count < MAX_FRAMES else 0
            number, seconds, clock = 0, 0.0, self._clock(capture)
            while (frame := capture.read()[1]) is not None:
                now = clock()
                seconds = now if now > seconds else number and seconds + 1 / rate  # of some formats they are unknown
                gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
                yield Picture(gray, frame if colour else None, number, rate, count, seconds)
                number += 1
            if not number:
                raise UnreadableError("no frame of it can be read")
            if (missing := (count - 1) / rate - seconds) > max(1.0, CUT * count / rate):
                raise UnreadableError(f"ends {missing:.1f} seconds before its time: it is cut off or damaged")

    def _clock(self, capture: cv2.VideoCapture) -> Callable[[], float]:
        """What tells the seconds of the frame read last, which need not be equally far apart."""
        if self.camera is None:
            return lambda: capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        start = time.monotonic()
        return lambda: time.monotonic() - start

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        capture = cv2.VideoCapture(str(self.path) if self.camera is None else self.camera)
        try:
            if not capture.isOpened():
                raise UnreadableError("cannot be opened as a video" if self.camera is None else "cannot be opened")
            yield capture
        finally:
            capture.release()


def decode_picture(file: bytes, *, colour: bool = False) -> Picture:
    """The photo that an image file holds, with `colour` too. Raises UnreadableError."""
    try:
        return Picture(decode_image(file), decode_image(file, colour=True) if colour else None)
    except ValueError as error:
        raise UnreadableError(str(error)) from None


@dataclass(frozen=True)
class Found:
    """What the user's paths mean, and `notes` on what of the folders is left out."""

    sources: list[Source]
    notes: list[str]


def find_sources(paths: Sequence[Path], camera: int | None = None, leave_out: Sequence[Path] = ()) -> Found:
    """The images and videos that the paths mean, folders searched to their depths in the order of names.

    A path that is not there, or a folder with neither, is a source with a fault. Nothing below `leave_out` (where
    output goes) is taken from a folder, and no hidden file.
    """
    found = Found([], [])
    for path in paths:
        if path.is_dir():
            _look_into(path, leave_out, found)
        elif path.exists():
            found.sources.append(Source(str(path), Path(path.name), path))
        else:
            found.sources.append(Source(str(path), Path(path.name), path, fault="no such file or folder"))
    if camera is not None:
        found.sources.append(Source(f"webcam {camera}", Path(f"webcam{camera}.mp4"), camera=camera))
    return found


def _look_into(folder: Path, leave_out: Sequence[Path], found: Found) -> None:
    inside = contents(folder)
    files = inside.files
    for out in leave_out:
        if out != folder.resolve():
            files = [file for file in files if not file.parent.resolve().is_relative_to(out)]
    ours = [file for file in files if is_image_name(file.name) or file.name.lower().endswith(VIDEOS)]
    sources = [Source(str(file), file.relative_to(folder), file) for file in ours]
    sources += [
        Source(str(path), path.relative_to(folder), path, fault=f"cannot be read: {reason}")
        for path, reason in inside.unreadable.items()
    ]
    left = Counter(file.suffix.lower() or "without an ending" for file in files if file not in set(ours))
    left.update(inside.odd.values())
    if left:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left.most_common(8))
        found.notes.append(f"{folder}: left out, as neither image nor video: {kinds}")
    if not sources:
        sources = [Source(str(folder), Path(folder.name), folder, fault="no image and no video in it that is read")]
    found.sources.extend(sources)
