"""Moved copies of Training images: how they are moved, and what `prepare --augment` writes of them."""

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prepared import run, snapshot
from sample_csv import face, rows, write_csv
from scipy.ndimage import map_coordinates
from test_prepare import convert_imageset, index, records

import fer.data.prepare
from fer.data.affine import draw_moves, moved
from fer.data.manifest import SplitCounts
from fer.data.options import Affine
from fer.data.split_writer import Images
from fer.errors import UsageError
from fer.formats.database import Database, check_database, read_mean

K = 3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "fer2013.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sample"


def test_moves_keep_to_their_ranges_and_fill_them() -> None:
    ranges = Affine(rotation=20, shift=0.25, scale=0.5)
    moves = draw_moves(ranges, 4000, np.random.default_rng(1))
    angles = np.degrees(np.arctan2(moves[:, 1, 0], moves[:, 0, 0]))
    sizes = 1 / np.sqrt(np.linalg.det(moves[:, :, :2]))
    # Where the image's middle comes to lie in the copy.
    middles = np.linalg.solve(moves[:, :, :2], (23.5 - moves[:, :, 2])[..., None])[..., 0] - 23.5
    for values, most in ((angles, 20), (np.log(sizes), np.log(1.5)), (middles[:, 0], 12), (middles[:, 1], 12)):
        assert 0.98 * most < np.abs(values).max() <= most * (1 + 1e-9)
        assert abs(values.mean()) < 0.05 * most and values.std() == pytest.approx(most / np.sqrt(3), rel=0.05)
    assert np.corrcoef([angles, np.log(sizes), *middles.T])[np.triu_indices(4, 1)] == pytest.approx(0, abs=0.06)


def test_a_copy_is_the_image_at_the_moves_places() -> None:
    image = face(5)
    for move in draw_moves(Affine(rotation=30, shift=0.2, scale=0.3), 20, np.random.default_rng(2)):
        y, x = np.mgrid[:48, :48]
        places = move @ np.stack([x.ravel(), y.ravel(), np.ones(48 * 48)])
        wanted = map_coordinates(image.astype(float), places[::-1], order=1, mode="nearest").reshape(48, 48)
        # OpenCV rounds places to 1/32 pixel, and the steepest slope here is some 60 a pixel.
        assert np.abs(moved(image, move) - wanted).max() < 3
    assert np.array_equal(moved(image, draw_moves(Affine(0, 0, 0), 1, np.random.default_rng(3))[0]), image)


def test_a_shift_moves_the_image_and_not_the_frame() -> None:
    image = np.zeros((48, 48), np.uint8)
    image[20, 30] = 255
    (move,) = draw_moves(Affine(0, 0.25, 0), 1, np.random.default_rng(4))
    right, down = -move[:, 2]
    y, x = np.average(np.argwhere(moved(image, move)), axis=0, weights=moved(image, move)[moved(image, move) > 0])
    assert (x, y) == pytest.approx((30 + right, 20 + down), abs=0.05)


@pytest.mark.parametrize("options", [{}, {"resize": 64}, {"encoded": True}])
def test_folder_index_and_database_hold_the_same_copies(source: Path, out: Path, options: dict[str, Any]) -> None:
    manifest = run(source, out, augment=K, **options).manifest
    listed = index(out, "train")
    names = {f"{number:05d}{copy}.jpg" for number in range(14) for copy in ("", "_1", "_2", "_3")}
    assert {name for name, _ in listed} == names == {path.name for path in (out / "train").iterdir()}
    assert len(listed) == 14 * (K + 1)
    expected = convert_imageset(out, "train", options.get("resize"), options.get("encoded", False))
    assert records(out / "train_lmdb") == expected
    labels = dict(listed)
    assert all(labels[name] == labels[f"{name[:5]}.jpg"] for name in names)
    assert check_database(out / "train_lmdb", 7).label_counts == (2 * (K + 1),) * 7
    assert manifest.splits["train"] == SplitCounts(56, (8,) * 7) and manifest.copies == 42
    assert manifest.options.augment == K
    assert manifest.options.affine == Affine(rotation=15, shift=0.1, scale=0.1)
    with Database(out / "train_lmdb") as database:
        images, _, _ = database.read_all()
    np.testing.assert_allclose(read_mean(out / "mean.binaryproto"), images.mean(axis=0), atol=1e-4)


def test_copies_lie_among_the_images_and_only_in_train(source: Path, out: Path, tmp_path: Path) -> None:
    run(source, out, augment=K)
    run(source, tmp_path / "plain")
    copies = ["_" in name for name, _ in index(out, "train")]
    changes = sum(a != b for a, b in itertools.pairwise(copies))
    assert changes > 10, "in a shuffled order, not one behind the other"
    for split in ("val", "test"):
        assert records(out / f"{split}_lmdb") == records(tmp_path / "plain" / f"{split}_lmdb")
    plain = {path.name: path.read_bytes() for path in (tmp_path / "plain" / "train").iterdir()}
    assert plain == {name: (out / "train" / name).read_bytes() for name in plain}, "the images themselves are as ever"


def test_each_copy_is_its_image_moved(source: Path, out: Path) -> None:
    """As a twin made of the source's pixels says, up to what JPEG changes."""
    run(source, out, augment=K, seed=5, affine=Affine(20, 0.1, 0.2))
    faces = [pixels for _, pixels, usage in rows() if usage == "Training"]
    generator = np.random.default_rng([5, 3])
    for copy in range(1, K + 1):
        for number, move in enumerate(draw_moves(Affine(20, 0.1, 0.2), 14, generator)):
            written = cv2.imread(str(out / "train" / f"{number:05d}_{copy}.jpg"), cv2.IMREAD_UNCHANGED)
            assert written is not None
            assert np.abs(written.astype(int) - moved(faces[number], move)).max() <= 4


def test_seed_and_helpers(source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(source, out, augment=K, seed=1)
    run(source, tmp_path / "other", augment=K, seed=2)
    monkeypatch.setattr(fer.data.prepare, "_SMALL_SOURCE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    run(source, tmp_path / "helped", augment=K, seed=1)
    one, helped, other = snapshot(out), snapshot(tmp_path / "helped"), snapshot(tmp_path / "other")
    assert one.pop("manifest.json") and helped.pop("manifest.json")
    assert one == helped
    assert one["train/00000_1.jpg"] != other["train/00000_1.jpg"] and one["train.txt"] != other["train.txt"]


def test_other_ranges_are_another_directory_and_old_directories_are_still_up_to_date(source: Path, out: Path) -> None:
    assert not run(source, out).up_to_date
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["options"]["augment"], manifest["options"]["affine"], manifest["copies"], manifest["content_sha256"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run(source, out).up_to_date
    assert not run(source, out, force=True, augment=1).up_to_date
    assert run(source, out, augment=1).up_to_date
    assert not run(source, out, force=True, augment=1, affine=Affine(shift=0.2)).up_to_date


@pytest.mark.parametrize(
    "options",
    [
        {"augment": 21},
        {"augment": -1},
        {"affine": Affine(rotation=181)},
        {"affine": Affine(shift=-0.1)},
        {"affine": Affine(scale=float("nan"))},
    ],
)
def test_ranges_that_cannot_be(source: Path, out: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not from 0 to"):
        run(source, out, **options)
    assert not out.parent.exists()


def test_copies_come_after_the_images_until_they_are_shuffled() -> None:
    images = Images.plain(np.array([4, 9]), np.array([0, 6])).with_copies(np.arange(12.0).reshape(1, 2, 2, 3))
    assert images.names() == ["00000.jpg", "00001.jpg", "00000_1.jpg", "00001_1.jpg"]
    assert images.rows.tolist() == [4, 9, 4, 9] and images.labels.tolist() == [0, 6, 0, 6]
    assert images[2:].moves.tolist() == np.arange(12.0).reshape(2, 2, 3).tolist()
