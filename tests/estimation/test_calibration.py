"""Calibrated probabilities: honest, increasing, never certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation.calibration import calibrate, cross_calibrate, fit_calibrator, wants_isotonic
from ml_debugger.estimation.metrics import ece
from ml_debugger.estimation.numbers import sigmoid


def draw(n_rows: int = 4000, seed: int = 0, bend: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    log_odds = random.normal(-1, 2, n_rows)
    truth = 0.5 * log_odds - 0.7 + bend * np.abs(log_odds)
    return log_odds, (random.random(n_rows) < sigmoid(truth)).astype(float)


def test_platt_finds_the_line() -> None:
    log_odds, target = draw(40000)
    intercept, slope = fit_calibrator(log_odds, target)["line"]
    assert (intercept, slope) == (pytest.approx(-0.7, abs=0.05), pytest.approx(0.5, abs=0.03))


def test_probabilities_are_calibrated() -> None:
    calibrator = fit_calibrator(*draw())
    log_odds, target = draw(seed=1)
    assert ece(calibrate(calibrator, log_odds), target) < 0.03


@settings(deadline=None)
@given(st.booleans(), st.integers(0, 5))
def test_increasing_and_never_certain(isotonic: bool, seed: int) -> None:
    log_odds, target = draw(500, seed)
    calibrator = fit_calibrator(log_odds, target, isotonic=isotonic)
    grid = calibrate(calibrator, np.linspace(-29, 29, 400))
    assert (np.diff(grid) > 0).all()
    assert 1 / 1002 <= grid.min()
    assert grid.max() <= 1 - 1 / 1002


def test_isotonic_knots_are_those_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    log_odds, target = draw(600, 3)
    log_odds = log_odds.round(1)  # with ties
    calibrator = fit_calibrator(log_odds, target, isotonic=True)
    expected = IsotonicRegression().fit(log_odds, target).predict(log_odds)
    assert np.unique(calibrator["values"]) == pytest.approx(np.unique(expected.round(12)))
    assert (np.diff(calibrator["knots"]) > 0).all()


def test_isotonic_is_used_where_it_helps_and_errors_are_many() -> None:
    log_odds, target = draw(6000, 0, bend=1.2)
    folds = np.arange(6000) % 5
    assert wants_isotonic(log_odds, target, folds)
    assert not wants_isotonic(log_odds[:300], target[:300], folds[:300])


def test_without_errors_the_probability_is_small_and_still_ranks() -> None:
    log_odds = np.linspace(-5, 0, 50)
    for target, few in ((np.zeros(50), True), (np.ones(50), False)):
        probability = calibrate(fit_calibrator(log_odds, target), log_odds)
        assert (np.diff(probability) > 0).all()
        assert probability.max() < 0.2 if few else probability.min() > 0.5


def test_a_score_that_points_the_wrong_way_does_not_turn_round() -> None:
    log_odds, target = draw()
    assert fit_calibrator(-log_odds, target)["line"][1] == 0.0


def test_out_of_fold_values_do_not_see_their_own_fold() -> None:
    log_odds, target = draw(200)
    folds = np.arange(200) % 4
    values = cross_calibrate(log_odds, target, folds)
    changed = target.copy()
    changed[folds == 2] = 1 - changed[folds == 2]
    again = cross_calibrate(log_odds, changed, folds)
    np.testing.assert_array_equal(values[folds == 2], again[folds == 2])
    assert (values[folds != 2] != again[folds != 2]).any()


def test_one_fold_calibrates_on_itself() -> None:
    log_odds, target = draw(50)
    expected = calibrate(fit_calibrator(log_odds, target), log_odds)
    np.testing.assert_array_equal(cross_calibrate(log_odds, target, np.zeros(50, dtype=np.int64)), expected)


def test_a_line_that_would_fall_is_the_error_rate() -> None:
    """Where the score is worse than none, its best rising line is flat at the rate, not the falling one made flat."""
    log_odds, target = draw(2000)
    calibrator = fit_calibrator(-log_odds, target)
    assert calibrator["line"][1] == 0
    assert calibrate(calibrator, np.zeros(1))[0] == pytest.approx(target.mean(), abs=2e-3)
