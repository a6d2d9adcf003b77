"""Scoring: each image once, the choice made on val, nothing scored twice, nothing meaningless written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import training
from training import train

from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import load_scores
from fer.formats.prototxt import read_weights
from fer.runs.explained import read_explained
from fer.runs.run import Run
from fer.runs.scores import ScoresBySnapshot
from fer.schema import caffe_pb2
from fer.system.records import read_record


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    """A run of the fake engine with snapshots 20, 40, 60."""
    folder = tmp_path_factory.mktemp("trained")
    net, solver = training.write_net(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "fake", training.fake_engine)
        patch.delenv("FAKE_FAULT", raising=False)
        return train(net, solver, data, engine="fake", runs_dir=folder / "runs")


@pytest.fixture
def run(tmp_path: Path, trained: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of it to score."""
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    monkeypatch.setenv("FAKE_ARGV", str(tmp_path / "argv"))
    monkeypatch.delenv("FAKE_FAULT", raising=False)
    return Run(shutil.copytree(trained.dir, tmp_path / "run"))


def predictions(folder: Path) -> list[Path]:
    """The weights of each scoring that was done, in order."""
    return [weights for scored in processes(folder) for weights in scored]


def processes(folder: Path) -> list[list[Path]]:
    """The weights that each process scored with, in order."""
    lines = map(json.loads, (folder / "argv").read_text().splitlines())
    return [
        [Path(word) for option, word in pairwise(argv) if option == "--weights"]
        for argv in lines
        if argv[0] == "predict"
    ]


def test_each_image_once_with_what_it_is_made_of(tmp_path: Path, run: Run, data: Path) -> None:
    score_run(run)
    for split in ("val", "test"):
        scores = load_scores(run.scores(split))
        listed = [line.rsplit(" ", 1) for line in (data / f"{split}.txt").read_text().splitlines()]
        assert list(scores.files) == [name for name, _ in listed]
        assert scores.labels.tolist() == [int(label) for _, label in listed]
        assert scores.probs.shape == (len(listed), 7) and scores.probs.dtype == np.float32
        assert scores.meta.split == split and scores.meta.weights == "snapshots/net_iter_20.caffemodel"
        assert scores.meta.weights_sha256 == run.record.snapshots[20].weights.sha256


def test_of_equals_the_earliest_is_chosen_and_test_is_scored_with_it_alone(tmp_path: Path, run: Run) -> None:
    score_run(run)
    by_snapshot = read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots
    assert list(by_snapshot) == ["20", "40", "60"]
    assert by_snapshot["40"].loss == pytest.approx(np.log(7)) and by_snapshot["40"].accuracy == 1 / 7
    # Three on val to choose, and the chosen one on test; its answers on val are kept.
    iterations = [path.stem.rpartition("_")[2] for path in predictions(tmp_path)]
    assert iterations == ["20", "40", "60", "20"]


def test_what_was_scored_is_not_scored_again(tmp_path: Path, run: Run) -> None:
    score_run(run)
    done = len(predictions(tmp_path))
    score_run(run)
    assert len(predictions(tmp_path)) == done
    score_run(run, ten_crop=True)
    assert len(predictions(tmp_path)) == done + 2
    assert load_scores(run.scores("test", ten_crop=True)).meta.ten_crop is True


def test_one_process_scores_all_snapshots_that_are_not_scored_yet(tmp_path: Path, run: Run) -> None:
    score_run(run, snapshot=40, val_only=True)
    assert [len(weights) for weights in processes(tmp_path)] == [1]
    score_run(run, val_only=True)
    assert [[path.stem.rpartition("_")[2] for path in weights] for weights in processes(tmp_path)[1:]] == [["20", "60"]]
    before = (tmp_path / "argv").read_text()
    score_run(run, val_only=True)
    assert (tmp_path / "argv").read_text() == before  # nor was the engine asked anything else


def damaged(run: Run, change: Callable[[caffe_pb2.NetParameter], object]) -> None:
    """The snapshot 40 changed, and listed so."""
    path = run.weights_file(40)
    weights = read_weights(path)
    change(weights)
    path.write_bytes(weights.SerializeToString())
    files = run.record.snapshots[40]
    run.update(snapshots={**run.record.snapshots, 40: replace(files, weights=run.hashed(path))})


@pytest.mark.parametrize(
    ("fault", "change", "message"),
    [
        ("second-nan", None, r"net_iter_40\.caffemodel gives nan"),
        ("second-killed", None, "killed"),
        (
            "",
            lambda weights: weights.layer[0].ClearField("name"),
            r"net_iter_40\.caffemodel: layer 'ip' has 0 parameter blobs",
        ),
        ("", lambda weights: weights.layer[0].blobs[1].data.__setitem__(0, np.nan), r"net_iter_40\.caffemodel: .* nan"),
    ],
    ids=["nan", "killed", "no-layer", "nan-weights"],
)
def test_what_was_scored_before_a_snapshot_failed_is_kept(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    change: Callable[[caffe_pb2.NetParameter], object] | None,
    message: str,
) -> None:
    if change:
        damaged(run, change)
    monkeypatch.setenv("FAKE_FAULT", fault)
    with pytest.raises(FerError, match=message):
        score_run(run)
    assert list(read_record(run.scores_by_snapshot, ScoresBySnapshot).snapshots) == ["20"]
    assert [path.name for path in run.scores_by_snapshot.parent.iterdir()] == [run.scores_by_snapshot.name]
    assert len(processes(tmp_path)) == 1


def test_ten_crops_come_beside_the_centre_crop(run: Run) -> None:
    score_run(run, ten_crop=True)
    for split in ("val", "test"):
        assert load_scores(run.scores(split)).meta.ten_crop is False
        assert load_scores(run.scores(split, ten_crop=True)).meta.ten_crop is True


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"PK" + data[60:]])
def test_a_damaged_scores_file_is_made_anew(run: Run, damage: Callable[[bytes], bytes]) -> None:
    score_run(run)
    whole = load_scores(run.scores("val"))
    run.scores("val").write_bytes(damage(run.scores("val").read_bytes()))
    score_run(run)
    assert (load_scores(run.scores("val")).probs == whole.probs).all()


def test_test_may_be_left_for_later(tmp_path: Path, run: Run) -> None:
    score_run(run, ten_crop=True, val_only=True)
    scored = {path.name for path in run.scores("val").parent.iterdir()}
    assert scored == {"val.npz", "val_tencrop.npz", "val_by_snapshot.json", "in_training.json"}
    assert [path.stem.rpartition("_")[2] for path in predictions(tmp_path)] == ["20", "40", "60", "20"]
    score_run(run)
    assert run.scores("test").is_file() and len(predictions(tmp_path)) == 5


def test_a_snapshot_may_be_named(run: Run) -> None:
    score_run(run, snapshot=40)
    assert load_scores(run.scores("test")).meta.iteration == 40
    with pytest.raises(FerError, match="no snapshot 41; it has 20, 40, 60"):
        score_run(run, snapshot=41)


@pytest.mark.parametrize(("fault", "message"), [("nan-probs", "nan"), ("short-probs", r"shape \(34, 7\) for 35")])
def test_answers_that_mean_nothing_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    with pytest.raises(FerError, match=message):
        score_run(run)
    assert not run.scores("val").exists() and not run.scores("test").exists()


def test_weights_that_changed_are_refused(run: Run) -> None:
    path = run.weights_file(40)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(FerError, match="changed since it was verified"):
        score_run(run)


def test_nan_weights_are_refused_even_when_listed(run: Run) -> None:
    """Caffe would call them accuracy 1.0."""
    path = run.weights_file(20)
    content = path.read_bytes().replace(np.float32(0.5).tobytes(), np.float32("nan").tobytes())
    path.write_bytes(content)
    files = run.record.snapshots[20]
    run.update(snapshots={**run.record.snapshots, 20: replace(files, weights=run.hashed(path))})
    with pytest.raises(FerError, match="nan or inf"):
        score_run(run)


def test_data_that_changed_is_refused(tmp_path: Path, run: Run, data: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    files = {name.replace(str(data), str(copy)): known for name, known in run.record.data.files.items()}
    run.update(data=replace(run.record.data, dir=str(copy), files=files))
    path = copy / "test_lmdb" / "data.mdb"
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(FerError, match=r"test_lmdb/data\.mdb has changed"):
        score_run(run)
    shutil.rmtree(copy)
    with pytest.raises(FerError, match="are not there"):
        score_run(run)


def test_a_run_without_snapshots_has_nothing_to_score(run: Run) -> None:
    run.update(snapshots={})
    with pytest.raises(FerError, match="no verified snapshot"):
        score_run(run)


def test_what_the_net_looks_at_is_found_once(tmp_path: Path, run: Run) -> None:
    score_run(run, val_only=True)
    before = len(predictions(tmp_path))
    for _ in range(2):
        score_run(run, val_only=True, explain=True)
    assert len(predictions(tmp_path)) == before + 1
    explained = read_explained(run.explained)
    scores = load_scores(run.scores("val"))
    rows = [scores.files.index(file) for file in explained.meta.files]
    assert explained.classes.tolist() == scores.predictions[rows].tolist()
    assert explained.labels.tolist() == scores.labels[rows].tolist()
    assert explained.occlusion.shape == (len(rows), 48, 48) and not explained.occlusion.any()  # it answers one for all
    assert "fake" in explained.meta.grad_cam and explained.meta.batch and not len(explained.batch)
    damaged = run.explained.read_bytes()[:-20]
    run.explained.write_bytes(damaged)
    score_run(run, val_only=True, explain=True)
    assert read_explained(run.explained).meta == explained.meta


def test_progress_tells_how_far(run: Run) -> None:
    told: list[tuple[str, int, int]] = []
    score_run(run, progress=lambda *what: told.append(what))
    val = [done for stage, done, total in told if (stage, total) == ("scoring snapshots on val", 3)]
    assert sorted(set(val)) == [0, 1, 2, 3] == list(dict.fromkeys(val)) and ("scoring test", 35, 35) in told
