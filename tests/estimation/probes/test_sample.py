"""What probes share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ml_debugger.estimation.probes.sample import SELECTION_ROWS, error_loss, fit_temperature, likelihood, log_softmax


def test_temperature_is_that_of_a_general_optimiser() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(500, 4))
    truth = np.array([random.choice(4, p=row) for row in np.exp(log_softmax(3 * scores))])

    def loss(scale: float) -> float:
        return -log_softmax(scores * scale)[np.arange(500), truth].mean()

    best = minimize_scalar(loss, bounds=(0.1, 20), method="bounded")
    assert fit_temperature(scores, truth) == pytest.approx(best.x, rel=0.05)


def test_without_a_known_truth_nothing_is_scaled() -> None:
    assert fit_temperature(np.ones((5, 3)), np.full(5, -1)) == 1.0


def test_loss_is_lower_for_scores_that_tell_errors(make_sample) -> None:
    _, sample = make_sample(400)
    own = sample.choices.own
    telling = np.where(np.arange(sample.n_classes) == own[:, None], 3.0 - 6.0 * sample.wrong[:, None], 0.0)
    assert error_loss(telling, own, sample.wrong) < error_loss(sample.logits, own, sample.wrong)


def test_samples_are_capped_always_the_same_way(make_sample) -> None:
    _, sample = make_sample(300)
    some = sample.some(50)
    assert len(some) == 50
    np.testing.assert_array_equal(some, np.unique(some))
    np.testing.assert_array_equal(some, sample.some(50))
    inside = np.arange(300) < 40
    assert sample.some(50, inside).tolist() == list(range(40))
    assert len(sample.compared()) == min(300, SELECTION_ROWS)


def test_the_likelihood_is_that_of_the_softmax() -> None:
    scores = 30 * np.random.default_rng(0).normal(size=(50, 7))
    column = np.arange(50) % 7
    logs = log_softmax(scores)
    chosen, probability = likelihood(scores.copy(), column)
    np.testing.assert_allclose(chosen, logs[np.arange(50), column], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(probability, np.exp(logs), rtol=1e-12)
