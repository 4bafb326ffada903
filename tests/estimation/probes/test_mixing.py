"""Several opinions into one."""

from __future__ import annotations

import numpy as np

from ml_debugger.estimation.probes import error_odds, fit_mixture, mixed
from ml_debugger.estimation.probes.mixing import LEAST
from ml_debugger.estimation.probes.sample import log_softmax


def test_a_mixture_is_the_product_of_experts() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 20, 5))
    own, weights = np.arange(20) % 5, np.array([0.2, 0.0, 1.1])
    each, together = mixed(scores, own, weights)
    for position in range(3):
        np.testing.assert_allclose(each[position], error_odds(scores[position], own))
    total = sum(weight * np.maximum(log_softmax(part), LEAST) for weight, part in zip(weights, scores, strict=True))
    np.testing.assert_allclose(together, error_odds(total, own), rtol=1e-5, atol=1e-5)


def test_one_expert_cannot_veto() -> None:
    scores = np.zeros((2, 1, 2))
    scores[0, 0, 0] = 1e4
    _, together = mixed(scores, np.array([1]), np.array([0.5, 0.5]))
    assert together[0] < 10


def test_weights_follow_who_is_right(make_sample) -> None:
    _, sample = make_sample(600)
    right = 4.0 * np.eye(sample.n_classes)[sample.truth]
    noise = np.random.default_rng(0).normal(size=right.shape)
    weights = fit_mixture(np.stack([noise, right]), sample)
    assert weights[1] > 0.6 > 0.4 > weights[0] >= 0


def test_truths_that_nobody_looks_at_are_left_out(make_sample) -> None:
    _, sample = make_sample(300, n_classes=150)
    weights = fit_mixture(np.stack([sample.logits, sample.logits]), sample)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-3)
