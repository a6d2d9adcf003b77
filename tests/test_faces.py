"""Detectors, faces followed in videos, and what is written of them. The SSD's own tests want the extra `faces`."""

import csv
import dataclasses
import importlib.util
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer import cli
from fer.data.classes import CLASSES
from fer.errors import FerError, UsageError
from fer.formats.blobs import to_blob
from fer.inference import detectors, ssd
from fer.inference.detectors import Cascade, find_detector
from fer.inference.face_table import Crops, FaceTable
from fer.inference.faces import Box, Frame, Picture, Place, apart, face_pixels
from fer.inference.media import Source
from fer.inference.predict import Face, Failure, Result
from fer.inference.ssd import SSD
from fer.inference.tracking import follow
from fer.report.plots.look import render
from fer.report.plots.timeline import POINTS, Track, plot_timeline
from fer.schema import caffe_pb2

has_extra = pytest.mark.skipif(
    importlib.util.find_spec(detectors.EXTRA) is None, reason="the extra `faces` is not installed"
)
SMILE = {name: float(name == "Happy") for name in CLASSES}
FROWN = {name: float(name == "Angry") for name in CLASSES}


def photo(height: int = 60, width: int = 80, frame: int | None = None) -> Picture:
    return Picture(
        np.zeros((height, width), np.uint8),
        np.zeros((height, width, 3), np.uint8),
        frame,
        10.0,
        seconds=(frame or 0) / 10,
    )


def face(x: int, probabilities: dict[str, float] = SMILE, y: int = 5) -> Face:
    return Face(Box(x, y, 20, 20), probabilities, np.full((1, 48, 48), 7, np.uint8), 0.75)


CLIP = Source("clip.avi", Path("clip.avi"))


def frames(*rows: list[Face], source: Source = CLIP) -> Iterator[Result]:
    for number, faces in enumerate(rows):
        yield Result(source, photo(frame=number), faces)


def tracks_of(results: Iterator[Result | Failure]) -> list[list[int | None]]:
    return [[face.track for face in result.faces] for result in results if isinstance(result, Result)]


# ---- places


def test_of_overlapping_places_the_surest_stays() -> None:
    places = [Place(Box(0, 0, 10, 10), 0.6), Place(Box(1, 1, 10, 10), 0.9), Place(Box(30, 0, 10, 10), 0.0)]
    assert apart(places) == [places[1], places[2]]
    assert apart([]) == []


@pytest.mark.parametrize("degrees", [-30, 0, 45])
def test_a_turned_face_is_turned_upright(degrees: float) -> None:
    upright = np.zeros((101, 101), np.uint8)
    upright[30:50, 20:80] = 200
    turn = cv2.getRotationMatrix2D((50, 50), -degrees, 1.0)  # positive is counterclockwise there
    turned = cv2.warpAffine(upright, turn, (101, 101))
    seen = face_pixels(Picture(turned), Place(Box(0, 0, 101, 101), 1.0, Frame(50, 50, 101, degrees)))
    assert np.abs(seen.astype(int) - upright).mean() < 5


def test_a_face_at_the_edge_goes_on_beyond_it() -> None:
    gray = np.tile(np.arange(50, dtype=np.uint8), (50, 1))
    seen = face_pixels(Picture(gray), Place(Box(0, 0, 10, 20), 1.0, Frame(0, 10, 20)))
    assert seen.shape == (20, 20) and not seen[:, :9].any() and 8 <= int(seen[0, -1]) <= 10


# ---- which detector


def test_without_the_extra_it_is_the_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "EXTRA", "no_such_package")
    assert isinstance(find_detector(), Cascade)
    assert isinstance(find_detector(Path("haar")), Cascade)


def test_another_file_in_the_extra_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other_faces"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('is not to be imported')")
    for name in detectors.EXTRA_FILES:
        (package / name).write_bytes(b"another")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(detectors, "EXTRA", "other_faces")
    with pytest.raises(FerError, match="another SHA-256"):
        find_detector()


NET = """
input: "data" input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE global_pooling: true } }
"""


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--threshold", "2"], UsageError, "between 0 and 1"),
        (["--detector", "haar", "--threshold", "0.5"], UsageError, "neither weights nor scores"),
        (["--detector", "haar", "--detector-weights", "a.caffemodel"], UsageError, "neither weights nor scores"),
        (["--detector", "a.txt"], UsageError, "must be haar"),
        (["--detector", "b.onnx"], FerError, "no such file"),
        (["--detector", "b.onnx", "--detector-weights", "a.caffemodel"], UsageError, "holds its weights itself"),
        (["--detector", "none.prototxt"], FerError, "no such file"),
        (["--detector", "a.caffemodel"], FerError, r"of \.prototxt there is 2: net\.prototxt, other\.prototxt"),
        (["--detector", "net.prototxt", "--detector-weights", "none.caffemodel"], FerError, "no such file"),
        (["--detector", "a.caffemodel", "--detector-weights", "a.caffemodel"], UsageError, r"the SSD's \.prototxt"),
        (
            ["--detector", "other.prototxt", "--detector-weights", "pool.weights"],
            FerError,
            "not a net that OpenCV reads",
        ),
        (["--detector", "net.prototxt", "--detector-weights", "a.caffemodel"], FerError, "is empty"),
        (
            ["--detector", "net.prototxt", "--detector-weights", "else.weights"],
            FerError,
            "not of one net\nThe weights .*'fc'",
        ),
        (["--detector", "net.prototxt", "--detector-weights", "nan.weights"], FerError, "'pool' holds nan or inf"),
        (
            ["--detector", "net.prototxt", "--detector-weights", "pool.weights"],
            FerError,
            "no SSD: its answer has the shape 1 x 3 x 1 x 1",
        ),
        (["--detector", "lonely/net.prototxt"], FerError, r"of \.caffemodel there is none"),
    ],
)
def test_what_is_no_detector(
    words: list[str], error: type[FerError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lonely").mkdir()
    for name, text in (
        ("net.prototxt", NET),
        ("other.prototxt", "layer {"),
        ("lonely/net.prototxt", NET),
        ("a.txt", ""),
    ):
        Path(name).write_text(text)
    Path("a.caffemodel").write_bytes(b"")
    for stem, layer, value in (("pool", "pool", 1.0), ("else", "fc", 1.0), ("nan", "pool", math.nan)):
        net = caffe_pb2.NetParameter()
        net.layer.add(name=layer, type="Scale").blobs.append(to_blob(np.array([value], np.float32)))
        Path(f"{stem}.weights").write_bytes(net.SerializeToString())
    named = dict(zip(words[::2], words[1::2], strict=True))
    file, weights = (Path(named[name]) if name in named else None for name in ("--detector", "--detector-weights"))
    threshold = float(named["--threshold"]) if "--threshold" in named else None
    with pytest.raises(error, match=message):
        find_detector(file, weights, threshold)


# ---- the SSD, with answers that are given


class Seen(SSD):
    """An SSD that sees faces where it is told: rows (score, left, top, right, bottom) in the picture's pixels."""

    def __init__(self, *faces: tuple[float, ...]) -> None:
        self._threshold, self._is_close = 0.5, False
        self.faces, self.regions = np.array(faces).reshape(-1, 5), list[list[float]]()

    def _look(self, picture: Picture, region: np.ndarray) -> np.ndarray:
        self.regions.append(region.tolist())
        left, top, right, bottom = region
        cut = self.faces.copy()
        cut[:, 1::2], cut[:, 2::2] = np.clip(cut[:, 1::2], left, right), np.clip(cut[:, 2::2], top, bottom)
        seen: np.ndarray = cut[(cut[:, 3] - cut[:, 1] > 10) & (cut[:, 4] - cut[:, 2] > 10)]
        return seen


def test_a_photo_is_looked_at_in_tiles_that_leave_no_face_cut() -> None:
    detector = Seen(
        (0.9, 500, 300, 560, 380), (0.8, 0, 0, 60, 80), (0.7, 1200, 600, 1260, 690), (0.6, 200, 100, 700, 700)
    )
    boxes = [place.box for place in detector(photo(720, 1280))]
    assert boxes == [Box(0, 0, 60, 80), Box(200, 100, 500, 600), Box(500, 300, 60, 80), Box(1200, 600, 60, 90)]
    assert detector.regions[0] == [-160, -90, 1440, 810] and len(detector.regions) == 9
    assert all(round(right - left) == round(bottom - top) == 480 for left, top, right, bottom in detector.regions[1:])
    small = Seen()
    small(photo(200, 300))
    assert len(small.regions) == 1


def test_a_frame_is_looked_at_in_halves_or_as_a_whole_while_a_face_is_large() -> None:
    detector = Seen((0.9, 600, 300, 660, 380))
    assert [place.box for place in detector(photo(720, 1280, frame=0))] == [Box(600, 300, 60, 80)]
    assert detector.regions == [[0, 0, 800, 720], [480, 0, 1280, 720]]
    detector = Seen((0.9, 440, 100, 840, 620))  # cut by both halves
    for number, looks in ((0, 3), (1, 4), (2, 5)):
        assert [place.box for place in detector(photo(720, 1280, frame=number))] == [Box(440, 100, 400, 520)]
        assert len(detector.regions) == looks
    detector.faces = np.array([(0.9, 600, 300, 660, 380)])
    detector(photo(720, 1280, frame=3))
    detector(photo(720, 1280, frame=4))
    assert len(detector.regions) == 8
    upright, square = Seen(), Seen()
    upright(photo(1280, 720, frame=0))
    square(photo(700, 720, frame=0))
    assert upright.regions == [[0, 0, 720, 800], [0, 480, 720, 1280]] and len(square.regions) == 1


@pytest.mark.parametrize("shape", [(720, 1280), (3000, 4000), (301, 5000), (1, 1), (400, 400)])
def test_tiles_cover_the_picture_and_overlap(shape: tuple[int, int]) -> None:
    covered = np.zeros(shape, bool)
    for left, top, right, bottom in ssd._tiles(*shape, 300):
        covered[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = True
    assert covered.all() or max(shape) <= 300


@has_extra
def test_the_extra_finds_no_face_in_noise_and_takes_any_size() -> None:
    detector = find_detector()
    assert isinstance(detector, SSD)
    for shape in ((1, 1), (1, 700), (240, 320)):
        colour = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
        for frame in (None, 0):
            assert detector(Picture(colour[:, :, 0], colour, frame, 25.0)) == []


@has_extra
def test_an_ssd_of_ones_own_is_found_by_either_file(tmp_path: Path) -> None:
    files = detectors.extra_files()
    assert files
    shutil.copy(files[0], tmp_path / "deploy.prototxt")
    shutil.copy(files[1], tmp_path / "res10.caffemodel")
    for name in ("deploy.prototxt", "res10.caffemodel"):
        assert isinstance(find_detector(tmp_path / name, threshold=0.3), SSD)
    assert isinstance(find_detector(files[0], tmp_path / "res10.caffemodel"), SSD)


# ---- followed


def test_faces_keep_their_numbers() -> None:
    two = [[face(0), face(50)], [face(6), face(44)], [face(12)], [face(18), face(38, y=6)]]
    assert tracks_of(follow(frames(*two))) == [[1, 2], [1, 2], [1], [1, 2]]
    gone = [[face(0)], *[[] for _ in range(5)], [face(0)]]
    assert tracks_of(follow(frames(*gone)))[-1] == [2]
    assert tracks_of(follow(iter([Result(CLIP, photo(), [face(0)])]))) == [[None]]
    other = Source("other.avi", Path("other.avi"))
    both = [*frames([face(0)], [face(50)]), *frames([face(0)], source=other)]
    assert tracks_of(follow(iter(both))) == [[1], [2], [1]]


def test_probabilities_are_smoothed_over_time() -> None:
    results = list(follow(frames([face(0)], [face(0, FROWN)], [face(0, FROWN)]), smooth=0.2))
    happy = [result.faces[0].probabilities["Happy"] for result in results if isinstance(result, Result)]
    assert happy == pytest.approx([1, math.exp(-0.5), math.exp(-1)])
    for result in results:
        assert isinstance(result, Result) and sum(result.faces[0].probabilities.values()) == pytest.approx(1)
    plain = list(follow(frames([face(0)], [face(0, FROWN)])))[1]
    assert isinstance(plain, Result) and plain.faces[0].probabilities == FROWN


# ---- written


def test_a_row_for_each_face(tmp_path: Path) -> None:
    source = Source("=cmd.avi\ud800", Path("=cmd.avi"))
    with FaceTable(CLASSES) as table:
        for result in follow(frames([face(0)], [face(2), face(50)], source=source)):
            assert isinstance(result, Result)
            for each in result.faces:
                table.add(result, each)
        table.write(tmp_path / "new" / "faces.csv")
    with (tmp_path / "new" / "faces.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["frame"], row["seconds"], row["track"]) for row in rows] == [
        ("0", "0.000", "1"),
        ("1", "0.100", "1"),
        ("1", "0.100", "2"),
    ]
    assert rows[0]["source"] == r"'=cmd.avi\ud800"
    assert [rows[2][name] for name in ("x", "y", "width", "height", "score", "label")] == [
        "50",
        "5",
        "20",
        "20",
        "0.7500",
        "Happy",
    ]
    assert float(rows[0]["Happy"]) == 1 and float(rows[0]["Sad"]) == 0


def test_crops_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    source = Source("a.jpg", Path("../odd name.jpg"))
    result = dataclasses.replace(next(frames([face(0), face(40)])), source=source, picture=photo())
    folder = tmp_path / "faces"
    with pytest.raises(KeyboardInterrupt), Crops(folder, CLASSES) as crops:
        crops.add(result)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with Crops(folder, CLASSES) as crops:
        crops.add(result)
    assert sorted(path.name for path in folder.iterdir()) == ["000001-odd_name.png", "000002-odd_name.png", "index.csv"]
    image = cv2.imread(str(folder / "000001-odd_name.png"), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.shape == (48, 48) and (image == 7).all()
    assert (folder / "index.csv").read_text().splitlines()[1].startswith("000001-odd_name.png,a.jpg,,,,0,5,20,20,")
    with pytest.raises(FerError, match="is not empty"):
        Crops(folder, CLASSES)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_the_timeline_has_a_panel_for_each_face(count: int) -> None:
    tracks = [Track(n + 1, [0.0, 0.1, 0.2, 3.0], [list(SMILE.values())] * 4) for n in range(count)]
    figure = plot_timeline(tracks, CLASSES, "a $clip$.avi")
    assert render(figure, "png").startswith(b"\x89PNG")
    assert len(figure.axes) == max(1, min(count, 8))
    long = Track(1, [0.04 * n for n in range(10 * POINTS)], [list(FROWN.values())] * 10 * POINTS)
    ((stack, *_),) = [plot_timeline([long], CLASSES, "long").axes[0].collections]
    assert np.shape(stack.get_paths()[0].vertices)[0] < 3 * POINTS


def clip(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(3):
        image = np.full((64, 96, 3), 40, np.uint8)
        image[10:50, 5 + 2 * number : 45 + 2 * number] = 250
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        detectors, "find_detector", lambda *_: lambda picture: [Place(Box(5 + 2 * (picture.frame or 0), 10, 40, 40))]
    )


@pytest.mark.usefixtures("one_face")
def test_a_video_as_csv_timeline_crops_and_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = {"--csv": "faces.csv", "--timeline": "time.svg", "--crops": "faces", "--annotate": "drawn.avi"}
    words = [str(word) for option, name in outs.items() for word in (option, tmp_path / "out" / name)]
    (tmp_path / "out").mkdir()
    assert cli.main(["predict", str(clip(tmp_path / "clip.avi")), *words, "--smooth", "0.5"]) == 0
    said = capsys.readouterr()
    assert " frame 2 face 1 at 9,10 40x40" in said.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(outs.values())
    with (tmp_path / "out" / "faces.csv").open(newline="") as stream:
        assert [(row["frame"], row["track"], row["x"]) for row in csv.DictReader(stream)] == [
            ("0", "1", "5"),
            ("1", "1", "7"),
            ("2", "1", "9"),
        ]
    assert (tmp_path / "out" / "time.svg").read_text().startswith("<?xml")
    assert len(list((tmp_path / "out" / "faces").glob("*.png"))) == 3


@pytest.mark.usefixtures("one_face")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--csv", "faces.txt"], "must end in .csv"),
        (["--timeline", "time.pdf"], "must end in .png or .svg"),
        (["clip.avi", "--timeline", "time.png"], "of one video"),
        (["--timeline", "photo.png"], "one of the pictures to read"),
        (["--csv", "folder.csv"], "cannot be written"),
        (["--csv", "clip.avi/faces.csv"], "cannot be written"),
        (["--csv", "a.csv", "--crops", "./a.csv"], "to one place"),
        (["--smooth", "-1"], "0 or more"),
        (["--smooth", "nan"], "0 or more"),
        (["--no-detect", "--threshold", "0.5"], "leave one of them out"),
        (["--no-detect", "--detector-weights", "x"], "leave one of them out"),
    ],
)
def test_outputs_that_do_not_suit(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("clip.avi"))
    Path("photo.png").symlink_to("clip.avi")
    Path("folder.csv").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["predict", "clip.avi", *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
