"""`--csv`: a row for each face of each picture. `--crops`: the faces as the net sees them, to be labelled."""

import contextlib
import csv
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2

from fer.errors import FerError
from fer.inference.predict import Face, Result
from fer.system.escapes import csv_text
from fer.system.files import replacement, write_whole

COLUMNS = ("source", "frame", "seconds", "track", "x", "y", "width", "height", "score", "label")
CROPS_INDEX = "index.csv"


class FaceTable:
    """Rows of faces for a CSV file, UTF-8: COLUMNS, then the probability of each class.

    A long film's lie aside on disk; `write` puts the file in its place whole. A context manager.
    """

    def __init__(self, classes: Sequence[str], first: str = ""):
        self._classes = classes
        self._text = tempfile.SpooledTemporaryFile(1 << 20, "w+", encoding="utf-8", newline="")  # noqa: SIM115
        self._rows = csv.writer(self._text, lineterminator="\n")
        columns = ([first] if first else []) + [*COLUMNS, *classes]
        self._rows.writerow(map(csv_text, columns))

    def __enter__(self) -> "FaceTable":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._text.close()

    def add(self, result: Result, face: Face, *first: str) -> None:
        """A row of one face; its column `first` is that of the constructor."""
        picture = result.picture
        when: list[Any] = ["", ""] if picture.frame is None else [picture.frame, f"{picture.seconds:.3f}"]
        score = "" if face.score is None else f"{face.score:.4f}"
        track = "" if face.track is None else face.track
        probabilities = (f"{face.probabilities[name]:.6f}" for name in self._classes)
        row = [
            *first,
            _utf8(result.source.name),
            *when,
            track,
            *vars(face.box).values(),
            score,
            face.label,
            *probabilities,
        ]
        self._rows.writerow([csv_text(cell) for cell in row])

    def write(self, path: Path) -> None:
        """Write the file whole. Raises FerError where it cannot."""
        self._text.seek(0)

        def copy(stream: BinaryIO) -> None:
            while block := self._text.read(1 << 20):
                stream.write(block.encode())

        write_whole(path, copy, parents=True)


def _utf8(text: str) -> str:
    """A name of a file, which need not be text."""
    return text.encode("utf-8", "backslashreplace").decode()


class Crops:
    """Writes faces as PNGs of the net's size into a new folder, with an index that has an empty column `label_by_hand`.

    A context manager: the folder is there at its end, or not at all. Raises FerError where it is not to be made.
    """

    def __init__(self, folder: Path, classes: Sequence[str]):
        if folder.is_dir() and any(folder.iterdir()):
            raise FerError(f"--crops {folder}: is not empty, and what lies there may be labelled; name a new folder")
        if folder.exists() and not folder.is_dir():
            raise FerError(f"--crops {folder}: is a file; name a new folder")
        self._folder, self._at_end = folder, contextlib.ExitStack()
        self._table = self._at_end.enter_context(FaceTable(classes, "file"))
        self.count = 0

    def __enter__(self) -> "Crops":
        self._fresh = self._at_end.enter_context(replacement(self._folder))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._table.write(self._fresh / CROPS_INDEX)
        self._at_end.__exit__(kind, error, trace)

    def add(self, result: Result) -> None:
        """The faces of a picture. Raises FerError where one cannot be written."""
        for face in result.faces:
            self.count += 1
            stem = re.sub(r"[^\w-]+", "_", _utf8(result.source.within.stem))[:60]
            frame = "" if result.picture.frame is None else f"-frame{result.picture.frame:06d}-face{face.track or 0}"
            name = f"{self.count:06d}-{stem}{frame}.png"
            try:
                (self._fresh / name).write_bytes(cv2.imencode(".png", face.image.transpose(1, 2, 0))[1].tobytes())
            except OSError as error:
                raise FerError(f"cannot write {self._folder / name}: {error.strerror or error}") from None
            self._table.add(result, face, name)
