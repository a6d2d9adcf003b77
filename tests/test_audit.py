"""The audit counts what is wrong with the data: on a made-up set, and on the real FER2013."""

from pathlib import Path

import numpy as np
import pytest
from sample_csv import face

from fer.data.audit import Catalog, audit, audit_text, leaked
from fer.data.dataset import Split, blanks, fingerprints
from fer.data.source import open_source
from fer.system.records import as_json
from fer.system.workers import Workers


def catalog(rows: list[tuple[int, int, int]]) -> Catalog:
    """From (split, label, picture) triples; picture 0 is black."""
    pixels = np.stack([face(picture) if picture else np.zeros((48, 48), np.uint8) for _, _, picture in rows])
    splits, labels = (np.array([row[k] for row in rows], np.uint8) for k in (0, 1))
    return Catalog(splits, labels, fingerprints(pixels), blanks(pixels))


MADE = catalog(
    [
        (0, 0, 1), (0, 0, 1), (0, 1, 1),  # three of one, with two labels, within Training
        (0, 2, 2), (1, 2, 2),  # one in PublicTest
        (0, 3, 3), (2, 4, 3), (2, 4, 3),  # two in PrivateTest, labelled otherwise
        (1, 5, 4), (2, 5, 4),  # in both test splits
        (0, 6, 0), (1, 6, 5), (2, 6, 6), (0, 6, 7),
    ]
)  # fmt: skip


def test_counts() -> None:
    assert as_json(audit(MADE)) == {
        "images": 14,
        "class_counts": {"train": [2, 1, 1, 1, 0, 0, 2], "val": [0, 0, 1, 0, 0, 1, 1], "test": [0, 0, 0, 0, 2, 1, 1]},
        "unique": 8,
        "duplicate_groups": 4,
        "conflicting_groups": 2,
        "repeats_within": {"train": 2, "val": 0, "test": 1},
        "val_in_train": 1,
        "test_in_train": 2,
        "test_in_val": 1,
        "train_leaked": 2,
        "blank": {"train": 1, "val": 0, "test": 0},
    }


def test_text_has_the_counts() -> None:
    lines = audit_text(audit(MADE)).splitlines()
    assert lines[0].split() == ["Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral", "all"]
    assert lines[1].split() == ["Training", "2", "1", "1", "1", "0", "0", "2", "7"]
    assert "4 groups of exact duplicates, 2 with conflicting labels" in lines[5]


@pytest.mark.parametrize("room", [40, 80])
def test_the_text_has_room_on_a_terminal(room: int) -> None:
    lines = audit_text(audit(MADE), room).splitlines()
    assert max(map(len, lines)) <= room
    assert lines[1].split() == (
        ["Training", "2", "1", "1", "1", "0", "0", "2", "7"] if room == 80 else ["Angry", "2", "0", "0"]
    )


def test_leaked_are_the_training_images_of_a_test_split() -> None:
    assert np.flatnonzero(leaked(MADE)).tolist() == [3, 5]


def test_class_counts() -> None:
    assert MADE.class_counts(Split.TRAIN) == [2, 1, 1, 1, 0, 0, 2]


def test_blank_is_one_value_whatever_it_is() -> None:
    pixels = np.full((3, 48, 48), 200, np.uint8)
    pixels[1, 47, 47] = 201
    assert blanks(pixels).tolist() == [True, False, True]


def test_one_pixel_makes_another_image() -> None:
    pixels = np.stack([face(1)] * 2)
    pixels[1, 0, 0] ^= 1
    one, two = fingerprints(pixels)
    assert (one != two).any()


@pytest.mark.full
def test_the_real_fer2013(fer2013_csv_whole: Path) -> None:
    parts = []
    with Workers(0) as workers, open_source(fer2013_csv_whole, workers) as faces:
        for batch in faces.batches:
            parts.append((batch.splits, batch.labels, batch.digests, batch.blank))
    splits, labels, digests, blank = (np.concatenate(column) for column in zip(*parts, strict=True))
    result = audit(Catalog(splits, labels, digests, blank))
    expected = {
        "images": 35_887,
        "unique": 34_034,
        "duplicate_groups": 1_516,
        "conflicting_groups": 57,
        "val_in_train": 280,
        "test_in_train": 288,
        "test_in_val": 44,
        "blank": {"train": 11, "val": 1, "test": 0},
    }
    assert {key: getattr(result, key) for key in expected} == expected
