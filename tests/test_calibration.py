"""Calibration, and labels in doubt."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fer.evaluation.calibration import at_temperature, calibration, fit_temperature
from fer.evaluation.label_issues import label_issues
from fer.evaluation.scores import Scores, make_scores


def scores_of(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> Scores:
    return make_scores("val", [str(i) for i in range(len(labels))], labels, probs.astype(np.float32))


def drawn(sharpness: float, count: int = 20_000) -> Scores:
    """Labels drawn from the net's own probabilities, which are then raised to the power `sharpness`."""
    random = np.random.default_rng(1)
    probs = random.dirichlet([0.6] * 7, count)
    labels = (probs.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return scores_of(at_temperature(probs, 1 / sharpness), labels)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_what_made_a_net_too_sure(sharpness: float) -> None:
    scores = drawn(sharpness)
    temperature = fit_temperature(scores)
    assert temperature == pytest.approx(sharpness, rel=0.03)
    before, after = calibration(scores), calibration(scores, temperature)
    assert after.error < 0.012
    assert after.log_loss <= before.log_loss + 1e-6
    if sharpness != 1:
        assert before.error > 0.08
    assert before.counts.sum() == after.counts.sum() == 20_000


def test_the_error_is_that_of_a_hand_calculation() -> None:
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    found = calibration(scores_of(probs, np.array([0, 1, 0, 1])))
    # 0.9: half of two are right; 0.6: one of one; 0.7: one of one
    assert found.error == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4, abs=1e-6)
    assert found.counts[[13, 9, 10]].tolist() == [2, 1, 1]
    assert np.isnan(found.accuracy[0])


def test_a_label_against_a_sure_net_is_in_doubt_and_a_close_call_is_not() -> None:
    probs = np.tile([[0.8, 0.2, 0.0]], (10, 1))
    labels = np.zeros(10, np.int64)
    probs[7:] = [0.08, 0.92, 0.0]
    labels[7:] = 1
    labels[3] = 2  # 0.8 for class 0: as sure as ever
    labels[9], probs[9] = 0, [0.05, 0.95, 0.0]  # surer than ever of class 1
    labels[5], probs[5] = 1, [0.51, 0.49, 0.0]  # wrong, but undecided
    assert label_issues(scores_of(probs, labels), 1.0).tolist() == [9, 3]


def test_a_net_that_is_often_wrong_casts_no_doubt() -> None:
    random = np.random.default_rng(2)
    probs = at_temperature(random.dirichlet([0.6] * 7, 500), 0.1)
    scores = scores_of(probs, random.integers(0, 7, 500))
    assert len(label_issues(scores, 1.0)) > 100
    assert len(label_issues(scores, fit_temperature(scores))) == 0
