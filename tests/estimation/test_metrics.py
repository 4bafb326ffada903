"""Metrics against scikit-learn and slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation.metrics import METRICS, auroc, brier, ece, excess_area, measure, nll, risk_coverage_area

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=2, max_size=40)


@settings(deadline=None)
@given(rows)
def test_against_scikit_learn(values: list[tuple[float, bool]]) -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    proba, wrong = np.array([v[0] for v in values]), np.array([v[1] for v in values], dtype=float)
    if 0 < wrong.sum() < len(wrong):
        assert auroc(proba, wrong) == pytest.approx(roc_auc_score(wrong, proba))
    else:
        assert np.isnan(auroc(proba, wrong))
    assert brier(proba, wrong) == pytest.approx(brier_score_loss(wrong, proba, pos_label=1))
    inside = np.clip(proba, 1e-12, 1 - 1e-12)
    assert nll(proba, wrong) == pytest.approx(log_loss(wrong, inside, labels=[0, 1]))


def test_area_is_the_mean_risk_of_the_most_certain() -> None:
    score, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0])
    assert risk_coverage_area(score, wrong) == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 2 / 4]))
    assert excess_area(score, wrong) == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 2 / 4]) - np.mean([0, 0, 1 / 3, 2 / 4]))
    assert excess_area(wrong, wrong) == 0


def test_ties_share_their_risk() -> None:
    random = np.random.default_rng(0)
    score, wrong = random.integers(0, 5, 200).astype(float), (random.random(200) < 0.3).astype(float)
    shuffled = [risk_coverage_area(score + 1e-9 * random.random(200), wrong) for _ in range(300)]
    assert risk_coverage_area(score, wrong) == pytest.approx(np.mean(shuffled), abs=0.003)


def test_ece_is_zero_when_probabilities_are_rates_and_large_when_not() -> None:
    proba = np.repeat([0.1, 0.6], 500)
    wrong = np.concatenate([np.tile([1] + [0] * 9, 50), np.tile([1, 1, 1, 0, 0], 100)]).astype(float)
    assert ece(proba, wrong) < 0.03
    assert ece(np.full(1000, 0.9), wrong) == pytest.approx(0.9 - wrong.mean(), abs=1e-9)
    assert ece(np.array([0.3]), np.array([1.0])) == pytest.approx(0.7)


def test_intervals_hold_the_value_and_repeat() -> None:
    random = np.random.default_rng(1)
    proba = random.random(400)
    wrong = random.random(400) < proba
    found = measure(proba, wrong, np.arange(400), draws=100, seed=3)
    assert found == measure(proba, wrong, np.arange(400), draws=100, seed=3)
    for name in set(METRICS) - {"ece"}:  # the bootstrap of ECE is biased upwards
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_bootstrap_draws_equal_computing_on_the_drawn_rows() -> None:
    from ml_debugger.estimation.metrics import _Sample

    random = np.random.default_rng(2)
    proba, wrong = random.random(60).round(1), (random.random(60) < 0.4).astype(float)
    times = random.integers(0, 3, 60)
    chosen = np.repeat(np.arange(60), times)
    resampled = _Sample(proba, wrong).repeated(times)
    for metric in METRICS.values():
        assert metric(resampled) == pytest.approx(metric(_Sample(proba[chosen], wrong[chosen])))


def test_correlated_rows_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    proba = np.repeat(random.random(60), 10)
    wrong = np.repeat(random.random(60), 10) < proba
    alone = measure(proba, wrong, np.arange(600), draws=100)
    grouped = measure(proba, wrong, np.repeat(np.arange(60), 10), draws=100)
    assert grouped["auroc_high"] - grouped["auroc_low"] > 2 * (alone["auroc_high"] - alone["auroc_low"])


def test_undefined_is_nan() -> None:
    found = measure(np.full(5, 0.1), np.zeros(5), np.arange(5), draws=5)
    assert np.isnan(found["auroc"])
    assert np.isnan(found["auroc_low"])
    assert found["brier"] == pytest.approx(0.01)
    assert np.isnan(measure(np.full(5, 0.1), np.zeros(5), np.arange(5), draws=0)["brier_low"])
