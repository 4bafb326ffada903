from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from benchmarks.error_detection import bootstrap, metrics


@pytest.fixture(params=[False, True], ids=["distinct", "ties"])
def rows(request):
    rng = np.random.default_rng(1)
    errors = (rng.random(400) < 0.2).astype(np.int64)
    score = rng.normal(size=400) + errors
    return (np.round(score, 1) if request.param else score), errors


def slow_aurc(score, errors):
    """Mean over random orders of tied rows of the mean risk over coverages."""
    rng, found = np.random.default_rng(0), []
    for _ in range(600):
        order = np.lexsort((rng.random(len(score)), score))
        found.append((np.cumsum(errors[order]) / np.arange(1, len(errors) + 1)).mean())
    return np.mean(found)


def test_auroc_is_that_of_scikit_learn(rows):
    score, errors = rows
    assert metrics.auroc(score, errors) == pytest.approx(roc_auc_score(errors, score), abs=1e-12)


def test_auroc_of_one_kind_only_is_undefined():
    assert np.isnan(metrics.auroc(np.arange(3.0), np.zeros(3, int)))


def test_aurc_is_the_mean_over_orders_of_ties(rows):
    score, errors = rows
    assert metrics.aurc(score, errors) == pytest.approx(slow_aurc(score, errors), abs=3e-4)


def test_a_perfect_ranking_has_no_excess(rows):
    _, errors = rows
    assert metrics.e_aurc(errors + 0.0, errors) == 0
    assert metrics.e_aurc(errors + np.arange(400) / 1000, errors) == pytest.approx(0, abs=1e-12)


def test_fpr_counts_right_rows_at_the_threshold_that_catches_95_percent():
    errors = np.r_[np.ones(41, int), np.zeros(10, int)]
    score = np.r_[np.arange(41.0), np.linspace(-1, 1.9, 5), np.full(5, 2.0)]
    # Two of the 41 errors may be missed: the threshold is the third smallest error score, 2.
    assert metrics.fpr_at_95(score, errors) == pytest.approx(0.5)
    assert np.isnan(metrics.fpr_at_95(score, np.zeros(51, int)))


def test_brier_and_nll_are_those_of_scikit_learn(rows):
    score, errors = rows
    proba = 1 / (1 + np.exp(-score))
    assert metrics.brier(proba, errors) == pytest.approx(brier_score_loss(errors, proba))
    assert metrics.nll(proba, errors) == pytest.approx(log_loss(errors, proba))


def test_ece_is_the_mass_weighted_gap_of_equal_mass_bins():
    rng = np.random.default_rng(0)
    proba = rng.random(3000)
    errors = (rng.random(3000) < proba**2).astype(np.int64)
    order = np.argsort(proba)
    chunks = np.array_split(order, 15)
    direct = sum(len(c) / 3000 * abs(proba[c].mean() - errors[c].mean()) for c in chunks)
    assert metrics.ece(proba, errors) == pytest.approx(direct, abs=1e-3)
    assert metrics.bias(proba, errors) == pytest.approx(proba.mean() - errors.mean())


def test_ece_of_a_constant_is_its_bias():
    errors = np.r_[np.ones(3, int), np.zeros(7, int)]
    assert metrics.ece(np.full(10, 0.5), errors) == pytest.approx(0.2)


def test_calibrated_labels_stay_under_the_null_and_biased_ones_do_not():
    rng = np.random.default_rng(3)
    proba = rng.beta(1, 6, 2000)
    null = metrics.ece_null(proba)
    fair = [metrics.ece(proba, (rng.random(2000) < proba).astype(int)) for _ in range(200)]
    assert np.mean(np.array(fair) <= null) == pytest.approx(0.95, abs=0.06)
    assert metrics.ece(np.clip(proba + 0.1, 0, 1), (rng.random(2000) < proba).astype(int)) > null


def test_measure_gives_every_figure(rows):
    score, errors = rows
    assert tuple(metrics.measure(score, 1 / (1 + np.exp(-score)), errors)) == metrics.METRICS


def test_resampled_figures_are_those_of_the_repeated_rows(rows):
    score, errors = rows
    weights = bootstrap.draw_weights(400, 20, seed=5)
    assert weights.sum(axis=1).tolist() == [400.0] * 20
    repeated = [np.repeat(np.arange(400), w.astype(int)) for w in weights]
    expected = [metrics.auroc(score[r], errors[r]) for r in repeated]
    np.testing.assert_allclose(bootstrap.auroc_rows(score, errors, weights), expected, atol=1e-10)
    expected = [metrics.e_aurc(score[r], errors[r]) for r in repeated]
    np.testing.assert_allclose(bootstrap.e_aurc_rows(score, errors, weights), expected, atol=1e-10)
    expected = [score[r].mean() for r in repeated]
    np.testing.assert_allclose(bootstrap.mean_rows(score, weights), expected, rtol=1e-5)


def test_intervals_find_a_real_difference_and_no_other():
    rng = np.random.default_rng(0)
    errors = (rng.random(2000) < 0.3).astype(np.int64)
    good, bad = errors + rng.normal(size=2000), errors + 2 * rng.normal(size=2000)
    weights = bootstrap.draw_weights(2000, 300, seed=0)
    rows = {name: bootstrap.auroc_rows(s, errors, weights) for name, s in {"good": good, "bad": bad}.items()}
    gap = metrics.auroc(good, errors) - metrics.auroc(bad, errors)
    found = bootstrap.difference(gap, rows["good"] - rows["bad"])
    assert found.low < gap < found.high
    assert found.sign == 1
    assert bootstrap.difference(-gap, rows["bad"] - rows["good"]).sign == -1
    assert bootstrap.difference(0.0, rows["good"] - rows["good"]).sign == 0


def test_the_interval_covers_as_often_as_it_says():
    """Over many data sets, the 95 % interval of an AUROC holds the true one about 19 times in 20."""
    truth, hits = 0.7602499, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        errors = (np.arange(300) < 90).astype(np.int64)
        score = errors + rng.normal(size=300)
        rows = bootstrap.auroc_rows(score, errors, bootstrap.draw_weights(300, 200, seed))
        found = bootstrap.difference(truth, rows)
        hits += found.low <= truth <= found.high
    assert hits >= 105
