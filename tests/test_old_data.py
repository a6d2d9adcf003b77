"""A data directory that an older fer made (tests/golden/old_data, by commit ff887a7) is read as it always was.

It has no fingerprints.npz, and its first face of PublicTest lies in Training too.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training

from fer.cli import main
from fer.data.directory import check_replaceable, verify_data
from fer.data.leaks import in_training
from fer.data.manifest import MANIFEST, ImageSize, SplitCounts, read_manifest
from fer.data.options import PrepareOptions
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.formats.database import check_database

OLD = Path(__file__).parent / "golden" / "old_data"


def test_it_is_whole_and_what_it_was() -> None:
    manifest = verify_data(OLD)
    assert manifest.options == PrepareOptions(jpeg_quality=50, encoded=True, title="drawn faces")
    assert manifest.image == ImageSize(1, 48, 48) and manifest.splits["val"] == SplitCounts(7, (1,) * 7)
    assert manifest.audit is not None and manifest.audit.val_in_train == 1 and manifest.title == "drawn faces"
    assert in_training(OLD) == {"val": ["00000000_00000.jpg"], "test": []}
    for split in ("train", "val", "test"):
        assert check_database(OLD / f"{split}_lmdb", 7).label_counts == (1,) * 7
    check_replaceable(OLD)


def test_it_is_trained_on_and_scored(tmp_path: Path, fake: None) -> None:
    run = training.train_small(tmp_path, OLD, max_iter=20)
    score_run(run)
    assert run.record.data.title == "drawn faces" and run.record.data.train_count == 7
    assert json.loads(run.in_training.read_text())["val"] == ["00000.jpg"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that a JSON value holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*path, key)
        yield from places(inside, (*path, key))


def test_whatever_is_damaged_in_a_manifest_is_one_clear_error(tmp_path: Path) -> None:
    """Each value in turn of another type: named by file and field."""
    shutil.copytree(OLD, tmp_path / "data")
    whole = json.loads((OLD / MANIFEST).read_text())
    refused = []
    for path in places(whole):
        damaged = json.loads(json.dumps(whole))
        holder = damaged
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = {"wrong": -1} if isinstance(holder[path[-1]], str | int | float) else "wrong"
        (tmp_path / "data" / MANIFEST).write_text(json.dumps(damaged))
        with pytest.raises(FerError) as error:
            read_manifest(tmp_path / "data")
        assert str(error.value).startswith(f"{tmp_path}/data/{MANIFEST}: damaged: {path[0]}")
        refused.append(path[0])
    assert set(refused) == set(whole)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 2}, "format 2, which a newer fer wrote"),
        ({"image": {"channels": 1, "height": 0, "width": 48}}, "image.height: expected `int` >= 1"),
        ({"classes": ["a", "b"]}, "splits.train.class_counts: not one for each of the classes"),
        ({"splits": {}}, "splits: no train"),
    ],
)
def test_a_command_ends_with_1(
    tmp_path: Path, change: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(OLD, tmp_path / "data")
    manifest = json.loads((OLD / MANIFEST).read_text()) | change
    (tmp_path / "data" / MANIFEST).write_text(json.dumps(manifest))
    assert main(["train", "--net", "lenet", "--solver", "s2", "--data", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err
    assert f"{MANIFEST}: " in error and expected in error
