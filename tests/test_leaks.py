"""The clean subset: which held-out images lie in Training, and what a report makes of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import training
from made_report import comparison_of, report_of
from made_run import make_run
from prepared import run
from sample_csv import face, rows, write_csv

from fer.data.leaks import FINGERPRINTS, in_training
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.formats.database import DatabaseWriter, encode_datum, encode_file_datum
from fer.report.build import build_ensemble
from fer.report.results import CleanResult, CropResult
from fer.report.text import summary_text
from fer.runs.run import Run


def write(path: Path, datums: list[bytes]) -> None:
    with DatabaseWriter(path, len(datums), sum(map(len, datums))) as writer:
        writer.append((f"{k:08d}_{k:05d}.jpg".encode(), datum) for k, datum in enumerate(datums))


def test_equal_pixels_are_found_whatever_the_label_and_the_encoding(tmp_path: Path) -> None:
    almost = face(3).copy()
    almost[47, 47] ^= 1
    png = cv2.imencode(".png", face(2))[1].tobytes()
    write(tmp_path / "train_lmdb", [encode_datum(face(k)[np.newaxis], 0) for k in (1, 2, 3)])
    write(tmp_path / "val_lmdb", [encode_datum(face(k)[np.newaxis], 6) for k in (9, 1, 8, 3)])
    write(tmp_path / "test_lmdb", [encode_datum(almost[np.newaxis], 0), encode_file_datum(png, 0)])
    assert in_training(tmp_path) == {
        "val": ["00000001_00001.jpg", "00000003_00003.jpg"],
        "test": ["00000001_00001.jpg"],
    }


@pytest.mark.parametrize("options", [{}, {"jpeg_quality": 10}, {"shuffle": True, "augment": 1, "resize": 64}])
def test_the_source_s_pixels_count_as_in_the_audit_whatever_the_jpegs_make_of_them(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """One and the same definition: a face off by one in one pixel, which a coarse JPEG makes equal, is another."""
    faces = rows()
    almost = faces[0][1].copy()
    almost[47, 47] ^= 1
    faces[1] = (faces[1][0], almost, "PublicTest")
    faces[4] = (faces[4][0], faces[3][1], "PublicTest")
    faces[5] = (faces[5][0], faces[0][1], "PrivateTest")
    audit = run(write_csv(tmp_path / "faces.csv", faces), tmp_path / "data", **options).manifest.audit
    found = in_training(tmp_path / "data")
    assert audit and {split: len(keys) for split, keys in found.items()} == {"val": 1, "test": 1}
    assert (audit.val_in_train, audit.test_in_train) == (1, 1)
    if not options:
        assert found["val"] == ["00000001_00001.jpg"]
    (tmp_path / "data" / FINGERPRINTS).write_bytes(b"x")
    with pytest.raises(FerError, match=r"fingerprints\.npz: cannot be read"):
        in_training(tmp_path / "data")


def test_scoring_writes_them_once(tmp_path: Path, data: Path, fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    run = training.train_small(tmp_path, copy, max_iter=20)
    score_run(run)
    found = json.loads(run.in_training.read_text())
    hashes = {split: run.record.data.files[str(copy / f"{split}_lmdb" / "data.mdb")] for split in ("val", "test")}
    assert (found["val"], found["test"]) == ([], []) and hashes.items() <= found["database_sha256"].items()
    monkeypatch.setattr("fer.evaluation.score.in_training", lambda data_dir: pytest.fail("compared again"))
    score_run(run)
    run.in_training.write_text("{")
    monkeypatch.setattr("fer.evaluation.score.in_training", lambda data_dir: {"val": ["00000003_a.jpg"], "test": []})
    score_run(run)
    assert json.loads(run.in_training.read_text())["val"] == ["a.jpg"]


def leak(run: Run, val: list[str], test: list[str], digest: str = "of no database") -> Run:
    hashes = {"train": "a", "val": digest, "test": "of no database"}
    run.in_training.write_text(json.dumps({"val": val, "test": test, "database_sha256": hashes}))
    return run


def clean(crop: CropResult) -> CleanResult:
    assert crop.clean is not None
    return crop.clean


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")


@pytest.mark.full
def test_a_report_measures_the_others_too(tmp_path: Path, quick: None) -> None:
    run = make_run(tmp_path, ten_crop=True)
    seen = {f"{k:05d}.jpg" for k in range(0, 60, 2)}
    leak(run, sorted(seen), [])
    result = report_of(run)
    for crop, path in ((result.splits["val"], run.scores("val")),
                       (result.splits["val"].ten_crop, run.scores("val", ten_crop=True))):  # fmt: skip
        scores = load_scores(path)
        right = [bool(ok) for file, ok in zip(scores.files, scores.correct, strict=True) if file not in seen]
        assert crop is not None
        others = clean(crop)
        assert (others.left_out, others.count, others.correct) == (30, 180, sum(right))
        assert others.accuracy == sum(right) / 180 != crop.accuracy
    assert clean(result.splits["test"]).left_out == 0
    text, page = summary_text(result), (run.report_dir / "report.html").read_text()
    for each in (text, page):
        assert each.count("– centre crop, clean") == 1 and each.count("– ten-crop, clean") == 1
        assert "clean: without the images that also lie in Training (30 of PublicTest (val))" in each
    comparison = comparison_of([run, make_run(tmp_path, "try")], tmp_path / "out")
    row = next(line for line in summary_text(comparison).splitlines() if line.startswith("– centre crop, clean"))
    accuracy = clean(result.splits["val"]).accuracy
    assert row.split()[4] == f"{100 * accuracy:.2f}%" and row.split()[6:8] == ["–", "–"]


@pytest.mark.full
def test_it_is_not_known_of_other_data_and_where_nothing_is_left(tmp_path: Path, quick: None) -> None:
    run = make_run(tmp_path)
    assert report_of(run).splits["val"].clean is None
    result = report_of(leak(run, ["00000.jpg"], [], digest="of other data"))
    assert result.splits["val"].clean is None and result.splits["test"].clean
    result = report_of(leak(run, [f"{k:05d}.jpg" for k in range(210)], []))
    assert result.splits["val"].clean is None


@pytest.mark.full
def test_of_an_ensemble_those_that_no_member_has_seen(tmp_path: Path, quick: None) -> None:
    one, two = make_run(tmp_path, "lenet-s1"), make_run(tmp_path, "lenet-s2")
    leak(one, ["00000.jpg", "00001.jpg"], ["00003.jpg"])
    assert build_ensemble([one, two]).splits["val"].clean is None
    leak(two, ["00001.jpg", "00002.jpg"], [])
    splits = build_ensemble([one, two]).splits
    assert [clean(splits[split]).left_out for split in ("val", "test")] == [3, 1]
