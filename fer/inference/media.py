"""What a user names on the command line as pictures: image files, videos, folders of both, a camera."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from fer.data.image_file import decode_image, is_image_name
from fer.formats.image_header import MAX_PIXELS
from fer.inference.faces import Picture

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
MAX_BYTES = 200_000_000
"""A larger image file is refused unread."""
USUAL_RATE = 25.0


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
        yield from self._frames(colour) if self.is_video else self._image(colour)

    def _image(self, colour: bool) -> Iterator[Picture]:
        assert self.path is not None
        try:
            if not self.path.is_file():
                raise UnreadableError("not a file")
            if (size := self.path.stat().st_size) > MAX_BYTES:
                raise UnreadableError(f"a file of {size:,} bytes; more than {MAX_BYTES:,} are not read")
            file = self.path.read_bytes()
        except OSError as error:
            raise UnreadableError(f"cannot be read: {error.strerror or error}") from None
        try:
            picture = Picture(decode_image(file), decode_image(file, colour=True) if colour else None)
        except ValueError as error:
            raise UnreadableError(str(error)) from None
        yield picture

    def _frames(self, colour: bool) -> Iterator[Picture]:
        with self._opened() as capture:
            width, height = (capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"frames of {width:,.0f} x {height:,.0f} pixels are too large")
            number, rate = 0, capture.get(cv2.CAP_PROP_FPS)
            rate = rate if 0 < rate < 1000 else USUAL_RATE
            while (frame := capture.read()[1]) is not None:
                gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
                yield Picture(gray, frame if colour else None, number, rate)
                number += 1
            if not number:
                raise UnreadableError("no frame of it can be read")

    @contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        capture = cv2.VideoCapture(str(self.path) if self.camera is None else self.camera)
        try:
            if not capture.isOpened():
                raise UnreadableError("cannot be opened as a video" if self.camera is None else "cannot be opened")
            yield capture
        finally:
            capture.release()


def find_sources(paths: Sequence[Path], camera: int | None = None, leave_out: Path | None = None) -> list[Source]:
    """The images and videos that the paths mean, folders searched to their depths in the order of names.

    A path that is not there, or a folder with neither, is a source with a fault. Nothing below `leave_out` (where
    output goes) is taken from a folder.
    """
    sources = []
    for path in paths:
        if path.is_dir():
            sources += _in_folder(path, leave_out)
        elif path.exists():
            sources.append(Source(str(path), Path(path.name), path))
        else:
            sources.append(Source(str(path), Path(path.name), path, fault="no such file or folder"))
    if camera is not None:
        sources.append(Source(f"webcam {camera}", Path(f"webcam{camera}.mp4"), camera=camera))
    return sources


def _in_folder(folder: Path, leave_out: Path | None) -> list[Source]:
    found = []
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if leave_out is None or (here / name).resolve() != leave_out)
        for name in sorted(names):
            if is_image_name(name) or name.lower().endswith(VIDEOS):
                path = here / name
                found.append(Source(str(path), path.relative_to(folder), path))
    return found or [
        Source(str(folder), Path(folder.name), folder, fault="no image (.jpg, .png, .bmp) and no video in it")
    ]
