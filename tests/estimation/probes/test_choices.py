"""Classes that probes look at."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.probes.choices import ALL_CLASSES, TOP_CLASSES, choose, error_odds, log_mass


def test_all_classes_up_to_a_limit() -> None:
    logits = np.random.default_rng(0).normal(size=(5, ALL_CLASSES))
    choices = choose(logits, logits.argmax(axis=1))
    assert choices.classes is None
    np.testing.assert_array_equal(choices.take(logits), logits)
    np.testing.assert_array_equal(choices.find(np.arange(5)), np.arange(5))
    np.testing.assert_array_equal(choices.rows(np.array([3])).own, [logits[3].argmax()])


def test_the_first_ones_beyond_with_the_prediction_in_front() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 300)).astype(np.float32)
    label = random.integers(0, 300, 40)  # not the greatest logit: the model may say otherwise
    choices = choose(logits, label)
    assert choices.classes is not None
    for row in range(40):
        others = [c for c in np.argsort(-logits[row]) if c != label[row]]
        assert choices.classes[row].tolist() == [label[row], *others[: TOP_CLASSES - 1]]
    assert (choices.own == 0).all()
    found = choices.find(choices.classes[:, 4])
    assert (found == 4).all()
    assert (choices.find(np.full(40, -5)) == -1).all()
    rows, weights = random.normal(size=(40, 7)), random.normal(size=(7, 300))
    np.testing.assert_allclose(choices.product(rows, weights.T), choices.take(rows @ weights))
    some = choices.rows(np.arange(3))
    np.testing.assert_allclose(some.product(rows[:3], weights.T), some.take(rows[:3] @ weights))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_odds_are_the_formula(dtype: type) -> None:
    scores = np.random.default_rng(0).normal(size=(20, 6)).astype(dtype)
    own = np.arange(20) % 6
    p = np.exp(scores)[np.arange(20), own] / np.exp(scores).sum(axis=1)
    np.testing.assert_allclose(error_odds(scores, own), np.log((1 - p) / p), rtol=1e-5, atol=1e-5)
    rest, mine = log_mass(scores, own)
    np.testing.assert_allclose(np.logaddexp(rest, mine), np.log(np.exp(scores).sum(axis=1)), rtol=1e-5)
