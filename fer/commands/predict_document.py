"""What `fer predict --json` prints: one document, however long the films are."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any

from fer.commands.terminal import show

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

    from fer.inference.classifier import Model
    from fer.inference.media import Source
    from fer.inference.predict import Face, Failure, Result


class PredictDocument:
    """One JSON document at the end: {"model", "detector", "images": [...], "videos": [...], "errors": [...]}.

    What there is to say of a long film is laid aside on disk, not in memory.
    """

    def __init__(self, model: Model, detector: str):
        self._images, self._videos, self._errors, self._frames = (_JsonList(indent) for indent in (2, 2, 2, 6))
        self._video: Source | None = None
        self._about: dict[str, Any] = {}
        self._model, self._detector = str(model.directory), detector

    def add(self, result: Result) -> None:
        picture = result.picture
        faces = [_described(face) for face in result.faces]
        height, width = picture.gray.shape
        about = {"path": result.source.name, "width": width, "height": height}
        if picture.frame is None:
            self._images.add({**about, "faces": faces})
            return
        if result.source is not self._video:
            self._end_video()
            self._video, self._about = result.source, {**about, "frames_per_second": picture.rate}
        self._frames.add({"frame": picture.frame, "seconds": round(picture.seconds, 3), "faces": faces})

    def _end_video(self) -> None:
        if self._video is not None:
            self._videos.add(self._about, frames=self._frames)
            self._frames.clear()
            self._video = None

    def failed(self, failure: Failure) -> None:
        self._errors.add({"path": failure.source.name, "error": failure.reason})

    def __enter__(self) -> PredictDocument:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for items in (self._images, self._videos, self._errors, self._frames):
            items.close()

    def end(self) -> None:
        self._end_video()
        show(f'{{\n  "model": {json.dumps(self._model)},\n  "detector": {json.dumps(self._detector)},')
        for name, ends, items in (
            ("images", ",", self._images),
            ("videos", ",", self._videos),
            ("errors", "", self._errors),
        ):
            show(f'  "{name}": ', end="")
            items.write_to(sys.stdout)
            show(ends)
        show("}")


def _described(face: Face) -> dict[str, Any]:
    more = {"track": face.track, "score": face.score}
    known = {name: value for name, value in more.items() if value is not None}
    return {"box": vars(face.box), **known, "label": face.label, "probabilities": face.probabilities}


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
