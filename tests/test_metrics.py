"""Metrics against sklearn's own and numbers worked out by hand."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_run import npz_bytes, write_scores
from sklearn import metrics as sk

from fer.errors import FerError
from fer.evaluation.metrics import compute_metrics, mcnemar, wilson_interval
from fer.evaluation.scores import Scores, load_scores, make_scores, mean_scores
from fer.report.measure import measured
from fer.system.records import as_json

NAMES = ("a", "b", "c")


def scores(
    labels: Sequence[int],
    predictions: Sequence[int],
    classes: int = 3,
    sure: float = 0.8,
    split: str = "val",
    first: int = 0,
) -> Scores:
    """Scores whose argmax is `predictions`."""
    probs = np.full((len(labels), classes), (1 - sure) / (classes - 1), np.float32)
    probs[np.arange(len(labels)), predictions] = sure
    files = [f"{index:05d}.jpg" for index in range(first, first + len(labels))]
    return make_scores(split, files, np.array(labels), probs)


def test_by_hand() -> None:
    m = compute_metrics(scores([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]), NAMES)
    assert (m.count, m.correct, m.accuracy) == (6, 4, 4 / 6)
    assert m.misclassification == pytest.approx(2 / 6)
    assert m.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]  # rows: true class
    a, b, c = m.classes
    assert (a.support, a.predicted, a.correct, a.recall, a.precision) == (3, 3, 2, 2 / 3, 2 / 3)
    assert (b.recall, b.precision) == (1.0, 2 / 3) and b.f1 == pytest.approx(0.8)
    assert (c.recall, c.precision, c.f1) == (0.0, None, 0.0)
    assert m.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert m.log_loss == pytest.approx(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_agrees_with_sklearn(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.r_[0, 1, 2, random.integers(0, 3, count)]
    probs = random.dirichlet((1, 1, 1), len(labels)).astype(np.float32)
    m = compute_metrics(make_scores("val", [str(i) for i in range(len(labels))], labels, probs), NAMES)
    predictions = probs.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(labels, predictions, zero_division=0)
    assert [c.precision or 0.0 for c in m.classes] == pytest.approx(precision)
    assert [c.recall for c in m.classes] == pytest.approx(recall)
    assert [c.f1 or 0.0 for c in m.classes] == pytest.approx(f1)
    assert [c.support for c in m.classes] == support.tolist()
    truth = np.eye(3)[labels]
    assert m.roc_macro is not None and m.roc_micro is not None
    assert m.roc_macro.auc == pytest.approx(sk.roc_auc_score(truth, probs, average="macro"))
    assert m.roc_micro.auc == pytest.approx(sk.roc_auc_score(truth, probs, average="micro"))
    assert int(m.confusion.sum()) == m.count and int(m.confusion.trace()) == m.correct
    assert m.interval.low <= m.accuracy <= m.interval.high


def test_a_perfect_net() -> None:
    m = compute_metrics(scores([0, 1, 2], [0, 1, 2], sure=1.0), NAMES)
    assert m.roc_macro is not None and m.roc_micro is not None
    assert (m.accuracy, m.log_loss, m.roc_macro.auc, m.roc_micro.auc) == (1.0, 0.0, 1.0, 1.0)
    assert m.interval.high == pytest.approx(1.0) and m.interval.low < 0.5  # three images prove little


def test_a_class_without_images_has_no_curve_and_no_recall() -> None:
    m = compute_metrics(scores([0, 0, 1], [0, 2, 1]), NAMES)
    assert m.classes[2].roc is None and m.classes[2].recall is None and m.classes[2].precision == 0.0
    assert m.roc_macro is not None
    json.dumps(as_json(measured(m)), allow_nan=False)


def test_one_class_only() -> None:
    m = compute_metrics(scores([1, 1], [1, 1]), NAMES)
    assert [c.roc for c in m.classes] == [None, None, None] and m.roc_macro is None
    assert m.roc_micro is not None
    json.dumps(as_json(measured(m)), allow_nan=False)


def test_a_true_class_of_probability_zero_is_a_finite_loss() -> None:
    assert np.isfinite(compute_metrics(scores([0], [1], sure=1.0), NAMES).log_loss)


def test_wilson_by_the_formula() -> None:
    """1969 of 3589 are the original AlexNet's 54.86%."""
    n, p, z = 3589, 1969 / 3589, 1.959964
    centre, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = wilson_interval(1969, 3589)
    assert (interval.low, interval.high) == pytest.approx(
        (centre - half / (1 + z * z / n), centre + half / (1 + z * z / n)), abs=1e-6
    )


def test_mcnemar_by_hand() -> None:
    a = scores([0] * 12, [0] * 10 + [1] * 2)  # a alone right on 8, b alone on 1
    b = scores([0] * 12, [0] * 2 + [1] * 8 + [0] + [1])
    test = mcnemar(a, b)
    assert (test.only_a, test.only_b, test.both, test.neither) == (8, 1, 2, 1)
    assert test.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(a, a).p_value == 1.0


def test_mcnemar_puts_the_images_in_one_order() -> None:
    labels = [0, 1, 2, 0]
    a = scores(labels, [0, 1, 0, 0])
    b = make_scores("val", a.files[::-1], a.labels[::-1], a.probs[::-1])
    assert (mcnemar(a, b).only_a, mcnemar(a, b).only_b) == (0, 0)


def test_mcnemar_refuses_other_images_and_other_labels() -> None:
    with pytest.raises(FerError, match="not of the same images: 2 files"):
        mcnemar(scores([0, 1], [0, 1]), scores([0, 1], [0, 1], first=1))
    with pytest.raises(FerError, match="not of the same labels: 1 of 2"):
        mcnemar(scores([0, 1], [0, 1]), scores([0, 2], [0, 1]))


def test_the_mean_of_probabilities_decides() -> None:
    """Of three nets two are hardly right and one is surely wrong: their mean is wrong, their vote would be right."""
    labels = [0, 1]
    weak = [make_scores("val", ["x", "y"], labels, np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])) for _ in range(2)]
    sure = make_scores("val", ["y", "x"], labels[::-1], np.array([[0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]))
    mean = mean_scores([*weak, sure])
    assert mean.files == ("x", "y") and mean.labels.tolist() == labels and mean.split == "val"
    np.testing.assert_allclose(mean.probs, [[1 / 3, 1.6 / 3, 0.4 / 3], [0.4 / 3, 2.2 / 3, 0.4 / 3]], rtol=1e-6)
    assert mean.predictions.tolist() == [1, 1]


def test_a_mean_of_what_does_not_fit_is_refused() -> None:
    with pytest.raises(FerError, match="not of the same images: 2 files"):
        mean_scores([scores([0, 1], [0, 1]), scores([0, 1], [0, 1], first=1)])
    with pytest.raises(FerError, match="not of the same classes"):
        mean_scores([scores([0, 1], [0, 1]), scores([0, 1], [0, 1], classes=4)])


def broken(**changes: Any) -> dict[str, Any]:
    good = {
        "files": ["x.jpg", "y.jpg"],
        "labels": np.array([0, 1]),
        "probs": np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32),
    }
    return {**good, **changes}


NAN = np.array([[0.8, 0.1, 0.1], [np.nan] * 3], np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (broken(probs=NAN), r"y\.jpg: probability is not a finite number.*1 of 2 images"),
        (broken(probs=np.full((2, 3), np.inf, np.float32)), "not a finite number"),
        (broken(probs=np.full((2, 3), 0.5, np.float32)), r"x\.jpg: probabilities do not sum to 1"),
        (broken(probs=np.array([[1.5, -0.5, 0], [1, 0, 0]], np.float32)), "negative"),
        (broken(labels=np.array([0, 3])), r"y\.jpg: label is not 0\.\.2"),
        (broken(labels=np.array([-1, 1])), r"x\.jpg: label is not 0\.\.2"),
        (broken(labels=np.array([0.0, 1.0])), "wanted integers and floats"),
        (broken(labels=np.array([0])), "do not fit together"),
        (broken(files=["x.jpg", "x.jpg"]), r"x\.jpg is scored more than once"),
        (broken(files=[], labels=np.array([], int), probs=np.zeros((0, 3), np.float32)), "no image"),
    ],
)
def test_silent_wrong_answers_are_refused(arrays: dict[str, Any], message: str) -> None:
    """All NaN makes argmax 0 and Caffe's accuracy 1.0: no such thing may become a figure."""
    with pytest.raises(FerError, match=message):
        make_scores("val", **arrays)


def test_class_names_must_fit() -> None:
    with pytest.raises(FerError, match="2 class names for 3 probabilities"):
        compute_metrics(scores([0], [0]), ("a", "b"))


def test_a_scores_file_comes_back(tmp_path: Path) -> None:
    write_scores(tmp_path / "val.npz", "val", np.array([0, 3, 6]), 2.0, iteration=500)
    loaded = load_scores(tmp_path / "val.npz")
    assert (loaded.split, loaded.meta.iteration, loaded.files[1]) == ("val", 500, "00001.jpg")
    assert loaded.labels.dtype == np.int64 and loaded.probs.dtype == np.float32


def test_damaged_scores_files(tmp_path: Path) -> None:
    path = tmp_path / "val.npz"
    with pytest.raises(FerError, match="not scored yet"):
        load_scores(path)
    write_scores(path, "val", np.array([0, 3, 6]), 2.0)
    whole = path.read_bytes()
    for content in (b"", b"PK\3\4", whole[: len(whole) // 2], whole.replace(b"NUMPY", b"NUMPX"), npz_bytes(files=[1])):
        path.write_bytes(content)
        with pytest.raises(FerError, match="damaged"):
            load_scores(path)
    arrays = broken()
    path.write_bytes(npz_bytes(**arrays, meta="[1]"))
    with pytest.raises(FerError, match="meta: damaged: not one JSON object"):
        load_scores(path)
    path.write_bytes(npz_bytes(**arrays, meta="{}"))
    with pytest.raises(FerError, match=r"val\.npz: meta: damaged: the field split is missing"):
        load_scores(path)
    with np.load(io.BytesIO(whole)) as stored:
        fields = json.loads(str(stored["meta"])) | {"arrays_sha256": ""}
    del fields["content_sha256"]
    path.write_bytes(npz_bytes(**broken(probs=NAN), meta=json.dumps(fields)))
    with pytest.raises(FerError, match=r"val\.npz: y\.jpg: probability is not a finite"):
        load_scores(path)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "val.npz", files=np.array([object()]), labels=[0], probs=[[1.0]], meta="{}")
    with pytest.raises(FerError, match="damaged"):
        load_scores(tmp_path / "val.npz")
