"""Faces between key frames, the times of frames, videos that are cut off, and labels that can be read."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer import cli
from fer.data.classes import CLASSES
from fer.inference.annotate import DARK, draw
from fer.inference.faces import Box, Frame, Picture, Place
from fer.inference.keyframes import located
from fer.inference.media import Source, UnreadableError
from fer.inference.predict import Face, Result
from fer.inference.tracking import follow

RATE = 25.0


def film(count: int, rate: float = RATE) -> list[Picture]:
    return [Picture(np.zeros((90, 160), np.uint8), None, n, rate, count, n / rate) for n in range(count)]


class Seen:
    """A detector that is told where faces are, by frame, and writes down which it looked at."""

    def __init__(self, *faces: dict[int, Place]) -> None:
        self.faces, self.looked = faces, list[int]()

    def __call__(self, picture: Picture) -> list[Place]:
        assert picture.frame is not None
        self.looked.append(picture.frame)
        return self.truth(picture.frame)

    def truth(self, frame: int) -> list[Place]:
        return [face[frame] for face in self.faces if frame in face]

    def boxes(self, count: int, rate: float = RATE) -> list[list[Box]]:
        return [[place.box for place in places] for _, places in located(film(count, rate), self)]


def moving(frames: range, step: int, y: int = 10) -> dict[int, Place]:
    return {n: Place(Box(step * n, y, 40, 40), 0.9) for n in frames}


def test_faces_that_move_slowly_are_followed_between_key_frames() -> None:
    detector = Seen(moving(range(23), 2), moving(range(23), 1, y=50))
    assert detector.boxes(23) == [[Box(2 * n, 10, 40, 40), Box(n, 50, 40, 40)] for n in range(23)]
    assert detector.looked == [0, 5, 10, 15, 20, 22]


@pytest.mark.parametrize(
    "faces",
    [
        [moving(range(3), 1)],  # goes
        [moving(range(8, 23), 1)],  # comes
        [moving(range(23), 1), moving(range(7), 1, y=50), moving(range(11, 23), 2, y=50)],
        [moving(range(23), 12)],  # too fast
        [moving(range(9), 1) | {n: Place(Box(110, 30, 40, 40)) for n in range(9, 23)}],  # a cut
    ],
)
def test_where_key_frames_differ_those_between_are_looked_at(faces: list[dict[int, Place]]) -> None:
    detector = Seen(*faces)
    assert detector.boxes(23) == [[place.box for place in detector.truth(n)] for n in range(23)]


@pytest.mark.parametrize(("rate", "key_frames"), [(1, [0, 1, 2, 3]), (10, [0, 2, 4]), (60, [0, 8, 16]), (999, [0, 8])])
def test_key_frames_are_apart_in_seconds(rate: float, key_frames: list[int]) -> None:
    detector = Seen(moving(range(20), 1))
    detector.boxes(key_frames[-1] + 1, rate)
    assert detector.looked == key_frames


def test_a_face_on_the_way_turns_the_short_way_round_and_has_no_score() -> None:
    ends = {0: Frame(20, 20, 30, 170), 5: Frame(25, 20, 40, -170)}
    detector = Seen({n: Place(Box(0, 0, 40, 40), 0.9, ends.get(n)) for n in range(6)})
    places = [place for _, (place,) in located(film(6), detector)]
    assert [place.score for place in places] == [0.9, None, None, None, None, 0.9]
    assert [round(place.frame.angle) % 360 for place in places if place.frame] == [170, 174, 178, 182, 186, 190]
    assert places[1].frame is not None and (places[1].frame.x, places[1].frame.side) == (21, 32)


def test_photos_are_all_looked_at() -> None:
    pictures = [Picture(np.full((9, 9), n, np.uint8)) for n in range(3)]
    found = [
        places[0].box.x for _, places in located(pictures, lambda each: [Place(Box(int(each.gray[0, 0]), 0, 5, 5))])
    ]
    assert found == [0, 1, 2]


# ---- times


class Capture:
    """cv2.VideoCapture of a video whose frames have the `times` told, in milliseconds."""

    times: tuple[float, ...] = ()

    def __init__(self, _: Any) -> None:
        self.number = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.times[self.number - 1]
        return {cv2.CAP_PROP_FRAME_WIDTH: 8, cv2.CAP_PROP_FRAME_HEIGHT: 8, cv2.CAP_PROP_FPS: 10}.get(what, 0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.number += 1
        return (True, np.zeros((8, 8, 3), np.uint8)) if self.number <= len(self.times) else (False, None)

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ((0, 40, 80, 280, 2280), [0, 0.04, 0.08, 0.28, 2.28]),  # they need not be equally far apart
        ((0, 0, 0, 0), [0, 0.1, 0.2, 0.3]),  # unknown
        ((float("nan"), float("nan")), [0, 0.1]),
        ((-40, 0, 40), [0, 0.1, 0.2]),
    ],
)
def test_frames_have_the_times_that_the_video_tells(
    times: tuple[float, ...], seconds: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").touch()
    monkeypatch.setattr(Capture, "times", times)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    pictures = Source("clip.mp4", Path("clip.mp4"), tmp_path / "clip.mp4").pictures()
    assert [picture.seconds for picture in pictures] == pytest.approx(seconds)


def test_a_face_of_the_frame_before_is_the_same_however_long_ago() -> None:
    face = Face(Box(0, 0, 20, 20), dict.fromkeys(CLASSES, 1 / 7), np.zeros((1, 48, 48), np.uint8))
    clip = Source("clip.mp4", Path("clip.mp4"))
    pictures = [Picture(np.zeros((50, 50), np.uint8), None, n, 10.0, 0, when) for n, when in enumerate((0.0, 9.0, 9.1))]
    rows = [Result(clip, picture, faces) for picture, faces in zip(pictures, ([face], [face], [face]), strict=True)]
    assert [result.faces[0].track for result in follow(rows) if isinstance(result, Result)] == [1, 1, 1]


def test_a_video_that_is_cut_off_is_named_after_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(60):
        writer.write(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    writer.release()
    source = Source("clip.avi", Path("clip.avi"), path)
    assert len(list(source.pictures())) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = []
    with pytest.raises(UnreadableError, match=r"ends [23]\.\d seconds before its time"):
        for frame in source.pictures():
            frames.append(frame.frame)


@pytest.mark.parametrize("number", ["-1", "100", "99999999999"])
def test_what_is_no_camera(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "--webcam", number]) == 2
    assert "0 to 99" in capsys.readouterr().err


# ---- drawn


def drawn(height: int, width: int, *boxes: Box) -> np.ndarray:
    happy = {name: float(name == "Happy") for name in CLASSES}
    image = np.full((height, width, 3), 255, np.uint8)
    faces = [Face(box, happy, np.zeros((1, 48, 48), np.uint8)) for box in boxes]
    return draw(Picture(image[:, :, 0], image), faces)


def labels(image: np.ndarray) -> list[list[int]]:
    """x, y, width and height of the filled parts; lines are thinner."""
    side = max(7, min(image.shape[:2]) // 100)
    marked = np.asarray((image < 255).any(axis=2), np.uint8)
    filled = cv2.morphologyEx(marked, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    stats: list[list[int]] = cv2.connectedComponentsWithStats(filled)[2][1:, :4].tolist()
    return stats


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((200, 300), Box(240, 100, 50, 60)),  # at the right edge
        ((200, 300), Box(100, 0, 60, 80)),  # at the top
        ((200, 300), Box(0, 0, 300, 200)),
        ((60, 60), Box(20, 15, 20, 25)),
        ((3000, 4000), Box(3700, 30, 200, 250)),
    ],
)
def test_a_label_lies_within_the_picture(size: tuple[int, int], box: Box) -> None:
    image = drawn(*size, box)
    ((x, y, width, height),) = labels(image)
    assert x >= 0 and y >= 0 and x + width <= size[1] and y + height <= size[0]
    dark = np.all(image < np.array(DARK) + 60, axis=2)
    columns = np.flatnonzero(dark.any(axis=0))
    assert columns[0] > x and columns[-1] < x + width  # all of the text
    assert height >= max(9, size[0] / 60)


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    boxes = [Box(40 + 60 * n, 100, 50, 60) for n in range(4)]
    places = labels(drawn(300, 400, *boxes))
    assert len(places) == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (12, 12)])
def test_a_picture_too_small_for_a_label_is_drawn(shape: tuple[int, int]) -> None:
    assert drawn(*shape, Box(0, 0, 1, 1)).shape == (*shape, 3)
