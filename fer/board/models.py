"""Nets that the board classifies faces with: the one that ships, and the scored runs; each is read once."""

import base64
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer.errors import FerError
from fer.evaluation.occlusion import occlusion_maps
from fer.inference.classifier import Classifier, find_model
from fer.inference.detectors import find_detector, name_of, wants_colour
from fer.inference.faces import Detector, whole
from fer.inference.media import decode_picture
from fer.inference.predict import check_gray, faces_in
from fer.runs.run import RUN_JSON

MOST_OPEN = 4
_FOR, _AGAINST = np.array([0, 94, 213], np.float32), np.array([178, 114, 0], np.float32)  # BGR
MAP_SIDE = 192  # pixels of an explanation map as it is shown


@dataclass
class _Opened:
    stamp: tuple[int, ...]
    classifier: Classifier
    lock: threading.Lock


class Models:
    """Classifiers by directory (None: the one that ships). OpenCV's nets answer one question at a time."""

    def __init__(self) -> None:
        self._open: dict[Path | None, _Opened] = {}
        self._lock = threading.Lock()
        self._detecting = threading.Lock()

    @cached_property
    def _detect(self) -> Detector:
        return find_detector()

    def _opened(self, directory: Path | None) -> _Opened:
        stamp = _stamp(directory)
        with self._lock:
            known = self._open.pop(directory, None)
            if known is None or known.stamp != stamp:
                known = _Opened(stamp, Classifier(find_model(directory)), threading.Lock())
                check_gray(known.classifier)
            self._open[directory] = known  # the last one used is the last one given up
            while len(self._open) > MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            return known

    def faces(self, directory: Path | None, photo: bytes, *, cropped: bool = False) -> dict[str, Any]:
        """The faces of a photo, as a page shows them. Raises UnreadableError, or FerError for the model."""
        opened = self._opened(directory)
        with self._detecting:
            picture = decode_picture(photo, colour=wants_colour(self._detect))
            places = whole(picture) if cropped else self._detect(picture)
        with opened.lock:
            faces = faces_in(picture, opened.classifier, places)
        height, width = picture.gray.shape
        return {
            "width": width,
            "height": height,
            "detector": name_of(self._detect),
            "faces": [
                {
                    "box": vars(face.box),
                    "label": face.label,
                    "probabilities": face.probabilities,
                    "image": data_address(face.image[0]),
                }
                for face in faces
            ],
        }

    def explanation(self, directory: Path | None, face: bytes, name: str) -> dict[str, Any]:
        """The map of what speaks for a class in a face, as `faces` gave its image: red for it, blue against it; and
        how far the class's probability falls at `most` where a place is covered.

        Raises FerError for a class that the model does not know, and an image of another size than its own.
        """
        opened = self._opened(directory)
        model = opened.classifier.model
        channels, *size = model.transform.shape
        gray = decode_picture(face).gray
        if name not in model.classes or list(gray.shape) != list(size):
            raise FerError(f"{name!r}: no class of this model, or an image of another size than {size[0]} x {size[1]}")
        image = np.repeat(gray[np.newaxis, np.newaxis], channels, axis=1)
        with opened.lock:
            (found,) = occlusion_maps(image, opened.classifier, [model.classes.index(name)])
        return {"image": data_address(_drawn(gray, found)), "most": max(float(found.max()), 0.0)}


def data_address(image: np.ndarray) -> str:
    """An image, uint8 [H, W] or BGR [H, W, 3], as an address that holds it: PNG, so that every pixel stays."""
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def _drawn(gray: np.ndarray, drops: np.ndarray) -> np.ndarray:
    """The face, BGR, with what lowers the class's probability when covered in red, what raises it in blue."""
    size = (MAP_SIDE, round(MAP_SIDE * gray.shape[0] / gray.shape[1]))
    face = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)[..., np.newaxis]
    strength = cv2.resize(drops / max(float(np.abs(drops).max()), 1e-6), size, interpolation=cv2.INTER_CUBIC)
    colour = np.where(strength[..., np.newaxis] > 0, _FOR, _AGAINST)
    share = 0.75 * np.abs(strength[..., np.newaxis]).clip(0, 1)
    return np.asarray(((1 - share) * face + share * colour).round().clip(0, 255), np.uint8)


def _stamp(directory: Path | None) -> tuple[int, ...]:
    """What another snapshot of a run would change."""
    names = () if directory is None else (RUN_JSON, "scores/val.npz")
    paths = [directory / name for name in names if directory is not None]
    return tuple(path.stat().st_mtime_ns for path in paths if path.is_file())
