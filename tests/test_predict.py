"""fer predict: from pictures to probabilities, with a fake detector that finds a face where a square is white."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import made_model
import numpy as np
import pytest

from fer import cli
from fer.data.classes import CLASSES
from fer.data.image_file import face_of
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.scores import load_scores
from fer.export.exported import export_run
from fer.inference import annotate, classifier, detectors
from fer.inference import media as pictures
from fer.inference.classifier import Classifier, find_model
from fer.inference.detectors import Cascade, YuNet
from fer.inference.faces import Box, Picture, Place
from fer.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pytorch", made_model.here)
        patch.delitem(ENGINES, "caffe")
        patch.delitem(ENGINES, "tensorflow")
        run = made_model.make_run(tmp_path_factory.mktemp("made"))
        export_run(run, run.dir / "export")
        return run


@pytest.fixture(autouse=True)
def shipped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model ships, and a detector that finds white squares replaces the cascade."""
    monkeypatch.setattr(classifier, "SHIPPED", run.dir / "export")
    monkeypatch.setattr(detectors, "find_detector", lambda *_: white_squares)
    for name in ("OPENCV_LOG_LEVEL", "OPENCV_FFMPEG_LOGLEVEL"):
        monkeypatch.setenv(name, "")  # so that it is as it was in the end
        monkeypatch.delenv(name)


def white_squares(picture: Picture) -> list[Place]:
    count, _, stats, _ = cv2.connectedComponentsWithStats((picture.gray > 200).astype(np.uint8))
    return [Place(Box(*map(int, stats[i][:4]))) for i in range(1, count)]


def photo(*boxes: tuple[int, int, int], size: tuple[int, int] = (300, 200)) -> np.ndarray:
    """A dark colour picture (width, height) with white squares (x, y, side)."""
    image = np.full((size[1], size[0], 3), (40, 60, 80), np.uint8)
    for x, y, side in boxes:
        image[y : y + side, x : x + side] = (250, 251, 252)
    return image


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def video(path: Path, frames: int = 3) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (300, 200))
    for number in range(frames):
        writer.write(photo((20 + 40 * number, 30, 60)))
    writer.release()
    return path


def predicted(capsys: pytest.CaptureFixture[str], *words: Any, code: int = 0) -> dict[str, Any]:
    assert cli.main(["predict", "--json", *map(str, words)]) == code
    printed = capsys.readouterr().out
    told: dict[str, Any] = json.loads(printed)
    assert printed == json.dumps(told, indent=2) + "\n"
    return told


# ---- what is said of a face


def test_each_face_has_seven_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "two.png", photo((10, 20, 50), (150, 60, 90)))
    document = predicted(capsys, path)
    assert document["videos"] == document["errors"] == []
    (image,) = document["images"]
    assert (image["path"], image["width"], image["height"]) == (str(path), 300, 200)
    assert [face["box"] for face in image["faces"]] == [
        {"x": 10, "y": 20, "width": 50, "height": 50},
        {"x": 150, "y": 60, "width": 90, "height": 90},
    ]
    for face in image["faces"]:
        assert list(face["probabilities"]) == list(CLASSES)
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert face["label"] == max(face["probabilities"], key=face["probabilities"].get)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "one.png", photo((10, 20, 50)))
    save(tmp_path / "none.png", photo())
    face = predicted(capsys, path)["images"][0]["faces"][0]
    assert cli.main(["predict", str(path), str(tmp_path / "none.png")]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == list(CLASSES)
    assert first.split()[:8] == [*(f"{100 * p:.1f}" for p in face["probabilities"].values()), face["label"]]
    assert first.endswith(f"{path} at 10,20 50x50") and second.strip() == f"no face  {tmp_path / 'none.png'}"


def test_no_face_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", str(save(tmp_path / "none.jpg", photo()))]) == 0
    assert "--no-detect" in capsys.readouterr().err


def test_a_cropped_face_gets_the_scores_own_probabilities(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The very images of val, as files: what scoring says of them, by the run and by its export."""
    scores = load_scores(run.scores("val"))
    folder = Path(run.record.data.dir) / "val"
    for model in (run.dir, run.dir / "export"):
        images = predicted(capsys, "--no-detect", "--model", model, folder)["images"]
        assert [Path(image["path"]).name for image in images] == sorted(scores.files)
        of_name = dict(zip(scores.files, scores.probs, strict=True))
        for image in images:
            told = list(image["faces"][0]["probabilities"].values())
            np.testing.assert_allclose(told, of_name[Path(image["path"]).name], atol=1e-6)


def test_a_face_in_a_photo_is_shrunk_as_a_training_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = cv2.GaussianBlur(photo((40, 20, 120)), (0, 0), 3)
    path = save(tmp_path / "one.png", image)
    face = predicted(capsys, path)["images"][0]["faces"][0]
    x, y, w, h = face["box"].values()
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert gray is not None
    by_hand = cv2.resize(gray[y : y + h, x : x + w], (48, 48), interpolation=cv2.INTER_AREA)
    expected = Classifier(find_model())(by_hand[np.newaxis, np.newaxis])[0]
    np.testing.assert_allclose(list(face["probabilities"].values()), expected, atol=1e-6)
    assert face_of(by_hand, 256).shape == (256, 256) and face_of(np.zeros((30, 20), np.uint8)).shape == (48, 48)


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jpeg = cv2.imencode(".jpg", photo((10, 20, 50)))[1].tobytes()
    # APP1 with one tag: orientation 6, the camera was held upright: turn it right by 90 degrees.
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    image = predicted(capsys, path)["images"][0]
    assert (image["width"], image["height"]) == (200, 300)
    box = image["faces"][0]["box"]
    assert (box["x"], box["y"]) == (200 - 20 - 50, 10)


# ---- folders, videos, a camera


def test_folders_are_searched_for_images_and_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "b.JPG", photo())
    save(tmp_path / "in" / "deep" / "a.bmp", photo())
    video(tmp_path / "in" / "c.avi")
    for name in ("notes.txt", "a.heic", "._b.JPG", "Thumbs.db"):
        (tmp_path / "in" / name).write_text("no picture")
    os.mkfifo(tmp_path / "in" / "pipe.mp4")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    save(tmp_path / "in" / "e.webp", photo())
    assert cli.main(["predict", str(tmp_path / "in")]) == 0
    note = capsys.readouterr().err.splitlines()[0]
    assert note.startswith(f"{tmp_path / 'in'}: left out, as neither image nor video: ")
    for words in ("1 .txt", "1 .heic", "1 a named pipe", "1 a link to a folder that it lies in"):
        assert words in note
    document = predicted(capsys, tmp_path / "in")
    assert [image["path"] for image in document["images"]] == [
        str(tmp_path / "in/b.JPG"),
        str(tmp_path / "in/deep/a.bmp"),
        str(tmp_path / "in/e.webp"),
    ]
    assert [video["path"] for video in document["videos"]] == [str(tmp_path / "in/c.avi")]


def test_a_video_has_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = predicted(capsys, video(tmp_path / "clip.avi"))["videos"]
    assert (told["width"], told["height"], told["frames_per_second"]) == (300, 200, 10)
    assert [frame["frame"] for frame in told["frames"]] == [0, 1, 2]
    for number, frame in enumerate(told["frames"]):
        assert frame["faces"][0]["box"]["x"] == pytest.approx(20 + 40 * number, abs=3)


class Camera:
    """cv2.VideoCapture of a camera that is stopped by Ctrl-C after two frames."""

    def __init__(self, number: Any) -> None:
        assert number == 1
        self.left = 2

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 300, cv2.CAP_PROP_FRAME_HEIGHT: 200}.get(what, 0)

    def read(self) -> tuple[bool, np.ndarray]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, photo((20, 30, 60))

    def release(self) -> None:
        pass


def test_a_camera_is_ended_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    (told,) = predicted(capsys, "--webcam", "1", "--annotate", tmp_path / "seen.avi")["videos"]
    assert told["path"] == "webcam 1" and len(told["frames"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["seen.avi"]


def test_ctrl_c_in_a_video_leaves_no_half_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = video(tmp_path / "clip.avi")

    def interrupted(picture: Picture) -> list[Place]:
        if picture.frame:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(detectors, "find_detector", lambda *_: interrupted)
    assert cli.main(["predict", str(clip), "--annotate", str(tmp_path / "out.avi")]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["clip.avi"]


# ---- what cannot be read


BAD = {
    "text.jpg": (b"hello", "not an image that OpenCV reads"),
    "empty.png": (b"", "an empty file"),
    "cut.png": (cv2.imencode(".png", photo())[1].tobytes()[:200], "cut off"),
    "huge.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30_000).to_bytes(4, "big") * 2 + bytes(20), "30,000 x 30,000"),
    "clip.mp4": (b"hello" * 100, "cannot be opened as a video"),
}


def test_bad_files_get_a_line_each_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    save(tmp_path / "good.png", photo((10, 20, 50)))
    (tmp_path / "nothing").mkdir()
    words = [str(tmp_path / name) for name in [*BAD, "good.png", "none.jpg", "nothing"]]
    answer = subprocess.run(
        [sys.executable, "-m", "fer", "predict", "--no-detect", "--model", str(classifier.SHIPPED), *words],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 1
    lines = answer.stderr.splitlines()
    assert len(lines) == len(BAD) + 2
    for line, (name, (_, words_of_it)) in zip(lines, BAD.items(), strict=False):
        assert line.startswith(f"error: {tmp_path / name}: ") and words_of_it in line
    assert lines[-2].endswith("none.jpg: no such file or folder") and "no image" in lines[-1]
    assert "good.png" in answer.stdout.splitlines()[1] and len(answer.stdout.splitlines()) == 2


def test_errors_are_in_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_bytes(b"hello")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.mp4")
    errors = predicted(capsys, *(tmp_path / name for name in ("text.jpg", "pipe.jpg", "pipe.mp4")), code=1)["errors"]
    assert [error["error"] for error in errors] == [
        "an unreadable image: not an image that OpenCV reads (JPEG, PNG, WebP, TIFF, BMP, GIF, ...)",
        "not a file",
        "not a file",
    ]


def test_a_file_too_large_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1000)
    path = save(tmp_path / "large.bmp", photo())
    assert "more than 1,000 are not read" in predicted(capsys, path, code=1)["errors"][0]["error"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give a PATH"),
        (["x.jpg", "--no-detect", "--detector", "y"], 2, "leave one of them out"),
        (["x.jpg", "--webcam", "one"], 2, "one: cameras have the numbers 0 to 99"),
        (["x.jpg", "--model", "nowhere"], 1, "neither a run nor an exported model"),
        (["x.jpg", "--detector", "nowhere.onnx"], 1, "no such file"),
    ],
)
def test_mistakes(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", *words]) == code
    assert message in capsys.readouterr().err


def test_without_a_shipped_model_one_must_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path)
    assert cli.main(["predict", "x.jpg"]) == 1
    assert "--model" in capsys.readouterr().err


# ---- drawings


def test_one_picture_is_drawn_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "one.png", photo((60, 80, 100)))
    before = source.read_bytes()
    predicted(capsys, source, "--annotate", tmp_path / "drawn.png")
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn is not None
    green = np.all(drawn == annotate.COLOUR, axis=2)
    assert green[80, 60:160].all() and green[80:180, 60].all() and green[179, 60:160].all()  # the box
    assert green[50:80].any() and not green[:40].any() and not green[:, 230:].any()  # and its label above it
    assert source.read_bytes() == before


def test_several_are_drawn_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "deep/b.png"):
        save(tmp_path / "in" / name, photo((60, 80, 100)))
    video(tmp_path / "in" / "c.avi")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"hello")
    out = tmp_path / "in" / "drawn"
    for _ in range(2):  # the second time what was drawn is no input
        document = predicted(capsys, tmp_path / "in", "--annotate", out, code=1)
        assert len(document["images"]) == 2
        assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.jpg", "c.avi", "deep/b.png"]
    frames = list(pictures.find_sources([out / "c.avi"]).sources[0].pictures())
    assert len(frames) == 3 and frames[0].rate == 10


def places(tmp_path: Path) -> Iterator[tuple[list[Path], Path, str]]:
    a, b = save(tmp_path / "a.png", photo()), save(tmp_path / "other" / "a.png", photo())
    clip = video(tmp_path / "clip.avi")
    (tmp_path / "link.png").symlink_to(a)
    yield [a], a, "is one of the pictures to read"
    yield [a], tmp_path / "link.png", "is one of the pictures to read"
    yield [a], tmp_path, "is one of the pictures to read"
    yield [tmp_path], tmp_path, "is one of the pictures to read"
    yield [a, b], tmp_path / "out", "would both become"
    yield [a, clip], clip, "must be a folder"
    yield [a], b / "deep" / "out.png", "cannot be written"
    yield [a, b], a / "out", "cannot be written"
    yield [a], tmp_path / "a.gif", "must end in .jpg, .png or .bmp"
    yield [clip], tmp_path / "clip.png", "must end in .mp4 or .avi"


def test_no_input_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = list(places(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for inputs, out, message in cases:
        assert cli.main(["predict", *map(str, inputs), "--annotate", str(out)]) == 2, message
        assert message in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


# ---- the detectors themselves


def test_the_cascade_finds_nothing_in_noise() -> None:
    draw, cascade = np.random.default_rng(0), Cascade()
    for shape in ((300, 400), (1, 1), (1, 3000), (29, 500)):
        assert cascade(Picture(draw.integers(0, 256, shape).astype(np.uint8))) == []


@pytest.mark.full
def test_the_cascade_finds_faces(fer2013_csv: Path) -> None:
    """FER2013's own, enlarged in a larger gray picture."""
    rows = fer2013_csv.read_text().splitlines()[1:17]
    cascade, found = Cascade(), 0
    for row in rows:
        pixels = np.array(re.split("[, ]", row)[1:2305], np.uint8).reshape(48, 48)
        image = np.full((1500, 2600), 120, np.uint8)
        image[300:900, 500:1100] = cv2.resize(pixels, (600, 600), interpolation=cv2.INTER_CUBIC)
        for box in (place.box for place in cascade(Picture(image))):
            found += 500 <= box.x + box.width / 2 <= 1100 and 300 <= box.y + box.height / 2 <= 900
    assert found > len(rows) / 2


def test_another_file_is_no_yunet(tmp_path: Path, run: Run) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    for file in (tmp_path / "bad.onnx", run.dir / "export" / "model.onnx"):
        with pytest.raises(FerError, match="not a YuNet file"):
            YuNet(file)


def test_yunets_boxes_become_squares_in_the_photos_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Net:
        def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802
            sizes.append(size)

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
            if image.shape == (320, 320, 3):
                return 0, None
            rows = np.zeros((2, 15), np.float32)
            rows[:, :8] = [[100, 50, 40, 60, 110, 70, 130, 90], [-10, 600, 60, 80, 10, 620, 30, 620]]
            return 2, rows

    (tmp_path / "yunet.onnx").write_bytes(b"weights")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Net())
    picture = Picture(np.zeros((1280, 2560), np.uint8), np.zeros((1280, 2560, 3), np.uint8))
    left, right = YuNet(tmp_path / "yunet.onnx")(picture)
    assert sizes == [(1280, 640)]
    assert (left.box, right.box) == (Box(0, 1200, 100, 80), Box(200, 100, 80, 120))  # cut at the edges
    for place, middle, angle in ((left, (40, 1280), 0), (right, (240, 160), 45)):
        assert place.frame is not None and (place.frame.x, place.frame.y) == middle
        assert place.frame.angle == pytest.approx(angle)
    assert right.frame is not None and right.frame.side == pytest.approx(0.92 * 120)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_line_has_room_on_the_terminal(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("face-of-somebody.png"), photo())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(["predict", "face-of-somebody.png", "--no-detect", "--annotate", "drawn"]) == 0
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines())) <= columns
    assert "face-of-somebody.png" in said.out and "Happy" in said.out and said.err == "drawn in: drawn\n"
