"""Each logit score against a slow direct formula, and against what its authors report."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines import BASELINES, Geometry, Rows, logits
from benchmarks.error_detection.traces import Split


def softmax(row):
    weights = [math.exp(z - max(row)) for z in row]
    return [w / sum(weights) for w in weights]


def rows_of(pair, val=None):
    return Rows(Geometry(pair.train, pair.weight, pair.bias), val or pair.val)


def same_order(one, other):
    return np.array_equal(np.argsort(one, kind="stable"), np.argsort(other, kind="stable"))


SLOW = {
    "msp": lambda p, z: math.log((1 - max(p)) / max(p)),
    "margin": lambda p, z: math.log((1 - (sorted(p)[-1] - sorted(p)[-2])) / (sorted(p)[-1] - sorted(p)[-2])),
    "logit_margin": lambda p, z: sorted(z)[-2] - sorted(z)[-1],
    "entropy": lambda p, z: math.log((h := -sum(q * math.log(q) for q in p)) / (math.log(len(p)) - h)),
    "gini": lambda p, z: math.log((1 - sum(q * q for q in p)) / sum(q * q for q in p)),
    "energy": lambda p, z: -math.log(sum(math.exp(v) for v in z)),
    "max_logit": lambda p, z: -max(z),
}


@pytest.mark.parametrize("name", SLOW)
def test_scores_are_their_formulas(pair, name):
    part = pair.val.take(np.arange(60))
    expected = [SLOW[name](softmax(z), list(z)) for z in part.wide.tolist()]
    score = BASELINES[name].fit(rows_of(pair))
    np.testing.assert_allclose(score(part), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("gamma", "top"), [(0.1, 3), (1.0, 5)])
def test_gen_is_its_formula(pair, gamma, top):
    part = pair.val.take(np.arange(40))
    expected = [sum((q * (1 - q)) ** gamma for q in sorted(softmax(z))[-top:]) for z in part.wide.tolist()]
    np.testing.assert_allclose(logits._generalised_entropy(part.wide, gamma, top), expected, rtol=1e-6)


def test_geometric_margin_is_the_distance_to_the_nearest_boundary(pair):
    part, weight = pair.val.take(np.arange(30)), pair.weight
    expected = []
    for z in part.wide:
        k = int(z.argmax())
        expected.append(-min((z[k] - z[j]) / np.linalg.norm(weight[k] - weight[j]) for j in range(len(z)) if j != k))
    np.testing.assert_allclose(BASELINES["geometric_margin"].fit(rows_of(pair))(part), expected)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_p_norm_is_its_formula_and_ignores_scale(pair, p):
    part = pair.val.take(np.arange(30))
    centred = part.wide - part.wide.mean(axis=1, keepdims=True)
    expected = centred.max(axis=1) / np.linalg.norm(centred, ord=p, axis=1)
    np.testing.assert_allclose(logits.normalised_max(part.wide, p), expected)
    np.testing.assert_allclose(logits.normalised_max(7 * part.wide + 3, p), expected)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_p_norm_is_a_constant_for_two_classes(two_classes, p):
    np.testing.assert_allclose(logits.normalised_max(two_classes.val.wide, p), 2 ** (-1 / p))


def test_p_norm_falls_back_to_msp_for_two_classes(two_classes):
    rows = rows_of(two_classes)
    assert np.array_equal(BASELINES["p_norm"].fit(rows)(two_classes.val), logits.msp(two_classes.val))
    assert rows.notes["p_norm"] == "fallback"


def broken_by_scale(seed=0, n=4000, n_classes=10):
    """A model whose logit scale is larger where it is wrong: MSP is broken, as label smoothing and mixup can break it.

    Right rows have flat, low tails of equal logits; wrong rows have a runner-up nearby and a large scale.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    wrong = rng.random(n) < 0.25
    predicted = np.where(wrong, (labels + 1) % n_classes, labels)
    values = 0.3 * rng.normal(size=(n, n_classes))
    values[np.arange(n), predicted] += 3
    values[wrong, labels[wrong]] += 1.5 + 0.3 * rng.normal(size=wrong.sum())
    scale = np.where(wrong, 2.5, 1.0) * np.exp(0.2 * rng.normal(size=n))
    values = values * scale[:, None]
    features = rng.normal(size=(n, 4)).astype(np.float32)
    return Split(features, values.astype(np.float32), labels)


def test_p_norm_repairs_a_broken_msp(pair):
    """The main finding of Cattelan & Silva: where MSP is broken, one tuned norm repairs it."""
    val, test = broken_by_scale(0), broken_by_scale(1)
    rows = Rows(Geometry(val, np.ones((10, 4)), np.zeros(10)), val)
    broken = metrics.auroc(logits.msp(test), test.errors)
    repaired = metrics.auroc(BASELINES["p_norm"].fit(rows)(test), test.errors)
    assert repaired > broken + 0.05
    assert rows.notes["p_norm"] != "fallback"


def test_temperature_never_hurts_on_val_and_one_is_msp(pair):
    rows = rows_of(pair)
    scaled = BASELINES["msp_ts"].fit(rows)
    assert metrics.aurc(scaled(pair.val), pair.val.errors) <= metrics.aurc(logits.msp(pair.val), pair.val.errors)
    temperature = float(rows.notes["msp_ts"])
    np.testing.assert_array_equal(scaled(pair.val), logits.log_odds_wrong(pair.val.wide / temperature))


def test_doctor_ranks_as_the_published_ratio(pair):
    rows = rows_of(pair)
    score = BASELINES["doctor"].fit(rows)(pair.val)
    temperature = float(rows.notes["doctor"])
    squares = np.array([sum(q * q for q in softmax(z)) for z in (pair.val.wide / temperature).tolist()])
    np.testing.assert_allclose(score, np.log((1 - squares) / squares), rtol=1e-5, atol=1e-6)


def test_two_classes_leave_one_ranking_to_all_softmax_scores(two_classes):
    rows = rows_of(two_classes)
    expected = logits.msp(two_classes.val)
    for name in ("margin", "logit_margin", "entropy", "gini", "gen", "geometric_margin", "rel_u"):
        assert same_order(np.round(BASELINES[name].fit(rows)(two_classes.val), 9), np.round(expected, 9)) or (
            metrics.auroc(BASELINES[name].fit(rows)(two_classes.val), two_classes.val.errors)
            == pytest.approx(metrics.auroc(expected, two_classes.val.errors), abs=1e-9)
        )


def test_confident_rows_are_not_tied():
    """A float32 softmax saturates at 1 from logit gaps of 17 on; log-odds keep the order up to any gap."""
    z = np.zeros((5, 3), np.float32)
    z[:, 0] = [20, 40, 60, 90, 200]
    part = Split(np.zeros((5, 1), np.float32), z, np.zeros(5, int))
    for score in (logits.msp, logits.margin, logits.gini, logits.entropy):
        assert (np.diff(score(part)) < 0).sum() >= 3
    assert (np.diff(logits.msp(part)) < 0).all()


def test_energy_and_max_logit_are_weak_for_errors(pair):
    """Reported by several benchmarks: they measure the logits' size, and rank errors below the softmax."""
    test = pair.reported["test"]
    best = metrics.auroc(logits.msp(test), test.errors)
    assert metrics.auroc(logits.energy(test), test.errors) < best - 0.02
    assert metrics.auroc(logits.max_logit(test), test.errors) < best


def test_rel_u_matrix_is_the_closed_form(pair):
    part, temperature, weight = pair.val, 1.5, 0.5
    p = np.array([softmax(z) for z in (part.wide / temperature).tolist()])
    moment = np.zeros((5, 5))
    for outcome, factor in ((0, -(1 - weight)), (1, weight)):
        for row in p[part.errors == outcome]:
            moment += factor * np.outer(row, row) / (part.errors == outcome).sum()
    expected = np.maximum(moment, 0)
    expected[np.diag_indices(5)] = 0
    np.testing.assert_allclose(logits.rel_u_matrix(part, temperature, weight), expected / np.linalg.norm(expected))


def test_rel_u_without_errors_is_gini(pair):
    right = pair.val.take(np.flatnonzero(pair.val.errors == 0))
    matrix = logits.rel_u_matrix(right, 1.0, 0.5)
    ranked = logits._quadratic(pair.val, 1.0, matrix)
    assert metrics.auroc(ranked, pair.val.errors) == pytest.approx(
        metrics.auroc(logits.gini(pair.val), pair.val.errors), abs=1e-9
    )


def test_rel_u_tells_confused_classes_from_others():
    """Its point: the same spread of probability means more doubt between classes that the model confuses."""
    rng = np.random.default_rng(0)
    n = 3000
    pairs = rng.integers(0, 2, n)  # rows spread over classes 0/1 err often, rows over 2/3 never
    z = np.full((n, 4), -4.0)
    z[np.arange(n), 2 * pairs] = 1.0
    z[np.arange(n), 2 * pairs + 1] = 0.9 * rng.random(n)
    labels = 2 * pairs + ((pairs == 0) & (rng.random(n) < 0.4))
    part = Split(np.zeros((n, 2), np.float32), z.astype(np.float32), labels)
    rows = Rows(Geometry(part, np.ones((4, 2)), np.zeros(4)), part)
    score = BASELINES["rel_u"].fit(rows)(part)
    assert metrics.auroc(score, part.errors) > metrics.auroc(logits.gini(part), part.errors) + 0.1
