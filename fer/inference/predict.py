"""Expressions of the faces in photos, videos and a camera's frames.

for result in predict(find_sources([Path("photo.jpg")]).sources, Classifier(find_model()), Cascade()):
    result.faces[0].label, result.faces[0].probabilities
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fer.data.image_file import face_of
from fer.errors import FerError
from fer.inference.classifier import Classifier
from fer.inference.faces import Box, Detector, Picture
from fer.inference.media import Source, UnreadableError


@dataclass(frozen=True)
class Face:
    """A face's place, and the probability of each class in the model's order."""

    box: Box
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Result:
    """The faces of one picture, from left to right; none where none was found."""

    source: Source
    picture: Picture
    faces: list[Face]


@dataclass(frozen=True)
class Failure:
    """A source that could not be read (to its end), and why."""

    source: Source
    reason: str


def predict(
    sources: Iterable[Source], classifier: Classifier, detect: Detector, *, colour: bool = False
) -> Iterator[Result | Failure]:
    """Each picture of the sources in order; with `colour` they are decoded in colour too, for a detector or a drawing.

    A face goes the way of a training's: gray, shrunk to 48 x 48 (then to the size of the model's data, in as many equal
    channels), then the model's crop, mean and scale. Raises FerError for a model of colours.
    """
    if classifier.model.colour:
        raise FerError(
            f"{classifier.model.directory} was trained on images in colour, and fer predict gives a net gray faces, as "
            "FER2013's are"
        )
    for source in sources:
        try:
            for picture in source.pictures(colour):
                yield Result(source, picture, _faces(picture, classifier, detect(picture)))
        except UnreadableError as error:
            yield Failure(source, str(error))


def _faces(picture: Picture, classifier: Classifier, boxes: list[Box]) -> list[Face]:
    if not boxes:
        return []
    crops = [picture.gray[box.y : box.y + box.height, box.x : box.x + box.width] for box in boxes]
    channels, *size = classifier.model.transform.shape
    faces = np.stack([face_of(crop, *size)[np.newaxis] for crop in crops])
    probs = classifier(faces.repeat(channels, axis=1)).tolist()
    names = classifier.model.classes
    return [Face(box, dict(zip(names, row, strict=True))) for box, row in zip(boxes, probs, strict=True)]
