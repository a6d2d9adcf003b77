"""What each detector finds on the 100 portraits of `interfaces` (CC0), and how long it takes: the README's table.

git clone https://github.com/cjdowner/interfaces      # at 2166b22, 19 March 2018
python scripts/bench_detectors.py interfaces [--yunet face_detection_yunet.onnx]

A face counts as found where a box and it have an intersection over union of OVERLAP; every other box is false. Besides
the photographs themselves, what is made of them: turned by 20 and 45 degrees, the lower half covered, and groups of
five on one picture of 1280 x 720 whose faces are 40 to 120 pixels high.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fer.inference.detectors import Cascade, YuNet, find_detector, wants_colour
from fer.inference.faces import Detector, Picture

PHOTOS = "500 x 500"
FACES = Path(__file__).with_name("bench_faces.csv")
OVERLAP = 0.35
Rows = list[tuple[float, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the clone of interfaces")
    parser.add_argument("--yunet", type=Path, help="a YuNet file to compare with")
    parser.add_argument("--most", type=int, help="only the first so many photographs")
    args = parser.parse_args()
    photos = read_photos(args.photos, args.most)
    detectors: list[Detector] = [Cascade(), find_detector()]
    if args.yunet:
        detectors.append(YuNet(args.yunet))
    print(f"{len(photos)} photographs, {cv2.getNumThreads()} threads, processor milliseconds; found / missed / false")
    for name, pictures in (
        ("as they are", list(photos)),
        ("turned by 20 degrees", [turned(*photo, 20) for photo in photos]),
        ("turned by 45 degrees", [turned(*photo, 45) for photo in photos]),
        ("lower half covered", [covered(*photo) for photo in photos]),
        ("groups of five, 1280 x 720", list(groups(photos))),
    ):
        cells = [cell(detector, pictures) for detector in detectors]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    frames = [image for image, _ in groups(photos)][:10]
    print(
        "| ms a frame of a video, 1280 x 720 |",
        " | ".join(f"{ms(detector, frames):.0f}" for detector in detectors),
        "|",
    )


def read_photos(folder: Path, most: int | None) -> list[tuple[np.ndarray, Rows]]:
    """The photographs (BGR) with the faces' boxes (left, top, right, bottom); without those that show no face."""
    with FACES.open(newline="") as stream:
        rows = [
            (row["file"], [float(row[edge]) for edge in ("left", "top", "right", "bottom")])
            for row in csv.DictReader(stream)
        ]
    photos = []
    for file, edges in rows[:most]:
        image = cv2.imread(str(folder / PHOTOS / file))
        if image is None:
            raise SystemExit(f"{folder / PHOTOS / file} cannot be read")
        photos.append((image, [tuple(edges)]))
    return photos


def turned(image: np.ndarray, faces: Rows, degrees: float) -> tuple[np.ndarray, Rows]:
    """A photograph turned around its middle; of a face's box the middle is turned."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    moved: Rows = []
    for left, top, right, bottom in faces:
        x, y = turn @ [(left + right) / 2, (top + bottom) / 2, 1]
        w, h = (right - left) / 2, (bottom - top) / 2
        moved.append((x - w, y - h, x + w, y + h))
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), moved


def covered(image: np.ndarray, faces: Rows) -> tuple[np.ndarray, Rows]:
    """A photograph with a plain gray mask over the lower 45% of each face."""
    image = image.copy()
    for left, top, right, bottom in faces:
        mouth = round(bottom - 0.45 * (bottom - top))
        image[max(mouth, 0) : round(bottom), max(round(left), 0) : round(right)] = (150, 140, 130)
    return image, faces


def groups(photos: list[tuple[np.ndarray, Rows]]) -> Iterator[tuple[np.ndarray, Rows]]:
    """Five photographs side by side on each picture, in sizes that are drawn."""
    draw = np.random.default_rng(1)
    for start in range(0, len(photos) - 4, 5):
        group = np.full((720, 1280, 3), (110, 120, 125), np.uint8)
        places: Rows = []
        for number, (image, faces) in enumerate(photos[start : start + 5]):
            (left, top, right, bottom), *_ = faces
            scale = min(draw.uniform(40, 120) / (bottom - top), 255 / image.shape[0])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = 256 * number, int(draw.integers(0, 720 - small.shape[0]))
            group[y : y + small.shape[0], x : x + small.shape[1]] = small
            places.append((x + left * scale, y + top * scale, x + right * scale, y + bottom * scale))
        yield group, places


def cell(detector: Detector, pictures: list[tuple[np.ndarray, Rows]]) -> str:
    """Found / missed / false, and milliseconds a picture."""
    found = missed = false = 0
    for image, faces in pictures:
        boxes = [
            (b.x, b.y, b.x + b.width, b.y + b.height)
            for b in (place.box for place in detector(picture(detector, image)))
        ]
        for face in faces:
            hits = [box for box in boxes if overlap(box, face) >= OVERLAP]
            found, missed = found + bool(hits), missed + (not hits)
            boxes = [box for box in boxes if box not in hits[:1]]
        false += len(boxes)
    return f"{found} / {missed} / {false} | {ms(detector, [image for image, _ in pictures][:20], photo=True):.0f}"


def ms(detector: Detector, images: list[np.ndarray], *, photo: bool = False) -> float:
    """Milliseconds of the processor for an image."""
    pictures = [picture(detector, image, None if photo else number) for number, image in enumerate(images)]
    began = time.process_time()
    for each in pictures:
        detector(each)
    return 1000 * (time.process_time() - began) / len(pictures)


def picture(detector: Detector, image: np.ndarray, frame: int | None = None) -> Picture:
    """An image as a photo, or as a frame of a video."""
    return Picture(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), image if wants_colour(detector) else None, frame, 25.0)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return both / (areas - both)


if __name__ == "__main__":
    main()
