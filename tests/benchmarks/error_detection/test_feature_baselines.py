"""Each feature score against a slow direct formula, and against what its authors report."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines import BASELINES, Geometry, Rows, features, logits
from benchmarks.error_detection.traces import Split


@pytest.fixture(scope="module")
def rows(pair):
    return Rows(Geometry(pair.train, pair.weight, pair.bias), pair.val)


@pytest.fixture(scope="module")
def few(pair):
    return pair.val.take(np.arange(25))


@pytest.mark.parametrize("space", ["raw", "unit", "whitened"])
def test_nearest_of_class_is_the_smallest_distance(rows, few, space):
    bank, queries = rows.geometry.embed(rows.train, space), rows.geometry.embed(few, space)
    found = rows.geometry.nearest_of_class(few, space, 1.0)
    for i, query in enumerate(queries):
        for c in range(5):
            expected = min(np.linalg.norm(query - row) for row in bank[rows.train.labels == c])
            assert found[i, c] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_density_filter_leaves_out_the_sparsest_tenth(rows):
    kept = rows.geometry._dense_rows(0, "raw", 0.9)
    own = rows.train.features[rows.train.labels == 0]
    radius = [sorted(np.linalg.norm(own - row, axis=1))[10] for row in own]
    left_out = len(own) - len(kept)
    assert left_out == pytest.approx(0.1 * len(own), abs=1)
    worst = np.argsort(radius)[-left_out:]
    assert not any((kept == own[i]).all(axis=1).any() for i in worst)


def test_trust_score_is_the_ratio_of_its_distances(rows, few):
    score = BASELINES["trust_score"].fit(rows)
    space, kept = eval(rows.notes["trust_score"])
    to_class = rows.geometry.nearest_of_class(few, space, kept)
    own = to_class[np.arange(25), few.predicted]
    other = np.array([np.delete(d, k).min() for d, k in zip(to_class, few.predicted, strict=True)])
    np.testing.assert_allclose(score(few), np.log(own / other), atol=1e-5)


def test_trust_score_of_a_class_the_bank_never_saw_is_high(pair):
    seen = pair.train.take(np.flatnonzero(pair.train.labels != 2))
    rows = Rows(Geometry(seen, pair.weight, pair.bias), pair.val)
    score = BASELINES["trust_score"].fit(rows)(pair.val)
    assert np.isfinite(score).all()
    assert np.median(score[pair.val.predicted == 2]) > np.median(score[pair.val.predicted != 2])


def test_mahalanobis_is_the_distance_under_the_within_class_covariance(rows, few):
    """In few dimensions nothing is cut off: the whitened distance is the textbook one, ridge aside."""
    train = rows.train.features.astype(float)
    scale = train.std(axis=0)
    standard, queries = train / scale, few.features / scale
    means = np.stack([standard[rows.train.labels == c].mean(axis=0) for c in range(5)])
    within = np.cov((standard - means[rows.train.labels]).T)
    inverse = np.linalg.inv(within + 1e-2 * np.trace(within) / 12 * np.eye(12))
    expected = [[(q - m) @ inverse @ (q - m) for m in means] for q in queries]
    found = rows.geometry.class_distances(few)
    np.testing.assert_allclose(found.to_classes, expected, rtol=1e-6)
    np.testing.assert_allclose(found.to_predicted, np.array(expected)[np.arange(25), few.predicted], rtol=1e-6)
    overall = np.cov(rows.geometry.whiten(rows.train).T)
    inverse = np.linalg.inv(overall + 1e-2 * np.trace(overall) / 12 * np.eye(12))
    gaps = rows.geometry.whiten(few) - rows.geometry.whiten(rows.train).mean(axis=0)
    np.testing.assert_allclose(found.to_all, [g @ inverse @ g for g in gaps], rtol=1e-6)


def test_relative_mahalanobis_is_the_difference(rows, few):
    score = BASELINES["relative_mahalanobis"].fit(rows)(few)
    found = rows.geometry.class_distances(few)
    own = found.to_predicted if rows.notes["relative_mahalanobis"] == "predicted" else found.to_classes.min(axis=1)
    np.testing.assert_allclose(score, own - found.to_all)


def test_knn_distance_is_the_kth_smallest(rows, few):
    score = BASELINES["knn_distance"].fit(rows)(few)
    k = int(rows.notes["knn_distance"])
    unit = rows.train.features / np.linalg.norm(rows.train.features, axis=1, keepdims=True)
    expected = [sorted(np.linalg.norm(unit - q / np.linalg.norm(q), axis=1))[k - 1] for q in few.features]
    np.testing.assert_allclose(score, expected, atol=1e-3)


def test_vim_adds_the_scaled_residual_to_minus_the_energy(rows, few):
    origin = -np.linalg.pinv(rows.geometry.weight) @ rows.geometry.bias
    centred = rows.train.features - origin
    values, axes = np.linalg.eigh(centred.T @ centred)
    residual_axes = axes[:, np.argsort(values)[:6]]
    norms = np.linalg.norm(centred @ residual_axes, axis=1)
    scale = rows.train.wide.max(axis=1).mean() / norms.mean()
    expected = scale * np.linalg.norm((few.features - origin) @ residual_axes, axis=1) - logsumexp(few.wide, axis=1)
    np.testing.assert_allclose(BASELINES["vim"].fit(rows)(few), expected, rtol=1e-6)


def test_nnguide_multiplies_energy_by_confident_similarity(rows, few):
    score = BASELINES["nnguide"].fit(rows)(few)
    share, k = eval(rows.notes["nnguide"])
    kept = features._sample(len(rows.train), share, rows.seed)
    unit = rows.train.features / np.linalg.norm(rows.train.features, axis=1, keepdims=True)
    guide = (unit * logsumexp(rows.train.wide, axis=1)[:, None])[kept]
    expected = []
    for i, q in enumerate(few.features):
        similar = np.sort(guide @ (q / np.linalg.norm(q)))[::-1][:k]
        expected.append(-similar.mean() * logsumexp(few.wide[i]))
    np.testing.assert_allclose(score, expected, rtol=1e-3)


def test_sirc_is_its_formula(rows, few):
    score = BASELINES["sirc"].fit(rows)(few)
    first, second = eval(rows.notes["sirc"])
    p = np.exp(few.wide - logsumexp(few.wide, axis=1, keepdims=True))
    short_of_best = {
        "msp": 1 - p.max(axis=1),
        "doctor": (1 - (p**2).sum(axis=1)) / (p**2).sum(axis=1),
        "entropy": -(p * np.log(p)).sum(axis=1) / np.log(5),
    }[first]
    origin, axes = features._residual_space(rows)
    measure = {
        "l1_norm": lambda s: np.abs(s.features).sum(axis=1),
        "residual": lambda s: -np.linalg.norm((s.features - origin) @ axes, axis=1),
    }[second]
    known = measure(rows.train).astype(float)
    low, slope = known.mean() - 3 * known.std(), 1 / known.std()
    expected = np.log(short_of_best * (1 + np.exp(-slope * (measure(few) - low))))
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)


def test_sirc_keeps_the_softmax_ranking_in_distribution_and_moves_outliers(pair, rows):
    """Its published behaviour: nearly the softmax score on familiar rows, well above it on rows with odd features."""
    test = pair.reported["test"]
    score = BASELINES["sirc"].fit(rows)
    assert abs(metrics.auroc(score(test), test.errors) - metrics.auroc(logits.msp(test), test.errors)) < 0.02


def outliers_like(pair):
    rng = np.random.default_rng(5)
    odd = (3 * rng.normal(size=(200, 12))).astype(np.float32)
    return Split(odd, (odd @ pair.weight.T).astype(np.float32), np.zeros(200, int))


@pytest.mark.parametrize("name", ["mahalanobis", "knn_distance", "vim"])
def test_outlier_scores_find_outliers_better_than_errors(pair, name):
    """Reported widely: distance scores tell outliers, and rank errors of familiar data worse than the softmax."""
    rows = Rows(Geometry(pair.train, pair.weight, pair.bias), pair.val)
    score, test, odd = BASELINES[name].fit(rows), pair.reported["test"], outliers_like(pair)
    if name == "mahalanobis":
        assert metrics.auroc(np.r_[score(test), score(odd)], np.r_[np.zeros(400, int), np.ones(200, int)]) > 0.8
    assert metrics.auroc(score(test), test.errors) < metrics.auroc(logits.msp(test), test.errors)


def test_constant_and_tiny_inputs_stay_finite(pair):
    """A dead feature, a class with one row, fewer rows than neighbours."""
    dead = pair.train.features.copy()
    dead[:, 3] = 0.0
    keep = np.r_[np.flatnonzero(pair.train.labels < 4)[:30], np.flatnonzero(pair.train.labels == 4)[:1]]
    train = Split(dead[keep], pair.train.logits[keep], pair.train.labels[keep])
    rows = Rows(Geometry(train, pair.weight, pair.bias), pair.val)
    for name in (
        "trust_score",
        "centroid_trust",
        "mahalanobis",
        "relative_mahalanobis",
        "knn_distance",
        "vim",
        "nnguide",
    ):
        assert np.isfinite(BASELINES[name].fit(rows)(pair.val)).all(), name
