"""Expressions of the faces in photos, videos and a camera's frames.

sources = find_sources([Path("photo.jpg")]).sources
for result in predict(sources, Classifier(find_model()), find_detector(), colour=True):
    result.faces[0].label, result.faces[0].probabilities
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fer.data.image_file import face_of
from fer.errors import FerError
from fer.inference.classifier import Classifier
from fer.inference.faces import Box, Detector, Picture, Place, face_pixels
from fer.inference.keyframes import located
from fer.inference.media import Source, UnreadableError


@dataclass(frozen=True)
class Face:
    """A face's place, and the probability of each class in the model's order.

    `image` is what the model was given, uint8 [C, H, W]; `score` the detector's, if it gives one; `track` the number
    of the face in its video.
    """

    box: Box
    probabilities: dict[str, float]
    image: np.ndarray
    score: float | None = None
    track: int | None = None

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
    check_gray(classifier)
    for source in sources:
        try:
            for picture, places in _located(source, detect, colour):
                yield Result(source, picture, faces_in(picture, classifier, places))
        except UnreadableError as error:
            yield Failure(source, str(error))


def check_gray(classifier: Classifier) -> None:
    """Raise FerError for a model of colours."""
    if classifier.model.colour:
        raise FerError(
            f"{classifier.model.directory} was trained on images in colour, and fer predict gives a net gray faces, as "
            "FER2013's are"
        )


def _located(source: Source, detect: Detector, colour: bool) -> Iterator[tuple[Picture, list[Place]]]:
    """A source's pictures and their faces; a camera's at once."""
    pictures = source.pictures(colour)
    return ((each, detect(each)) for each in pictures) if source.camera is not None else located(pictures, detect)


def faces_in(picture: Picture, classifier: Classifier, places: list[Place]) -> list[Face]:
    """The faces at these places, each as the model sees it."""
    if not places:
        return []
    channels, *size = classifier.model.transform.shape
    faces = np.stack([face_of(face_pixels(picture, place), *size)[np.newaxis] for place in places])
    faces = faces.repeat(channels, axis=1)
    probs = [dict(zip(classifier.model.classes, row, strict=True)) for row in classifier(faces).tolist()]
    return [Face(place.box, row, image, place.score) for place, row, image in zip(places, probs, faces, strict=True)]
