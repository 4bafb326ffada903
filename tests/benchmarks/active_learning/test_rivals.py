from __future__ import annotations

import numpy as np
import pytest

from benchmarks.active_learning.learner import Outputs
from benchmarks.active_learning.rivals import RIVALS, badge_reference, entropy, k_centre, margin


def outputs(n: int = 60, width: int = 5, n_classes: int = 4, seed: int = 0) -> Outputs:
    rng = np.random.default_rng(seed)
    return Outputs(rng.normal(size=(n, width)), rng.dirichlet(np.ones(n_classes), n))


@pytest.mark.parametrize("name", RIVALS)
def test_each_picks_n_distinct_rows_and_repeats_itself(name):
    first, second = (RIVALS[name](outputs(), outputs(8, seed=1), 20, np.random.default_rng(3)) for _ in range(2))
    assert len(set(first.tolist())) == 20
    assert np.array_equal(first, second)


def test_entropy_and_margin_differ_where_they_should():
    proba = np.array([[0.34, 0.33, 0.33], [0.5, 0.5, 0.0], [0.9, 0.05, 0.05]])
    pool = Outputs(np.zeros((3, 1)), proba)
    assert entropy(pool, pool, 3, np.random.default_rng(0)).tolist() == [0, 1, 2]
    assert margin(pool, pool, 3, np.random.default_rng(0)).tolist() == [1, 0, 2]


def test_k_centre_takes_the_farthest_from_all_labelled_and_picked():
    pool = Outputs(np.array([[1.0], [10.0], [6.0], [11.0]]), np.full((4, 2), 0.5))
    labelled = Outputs(np.array([[0.0]]), np.full((1, 2), 0.5))
    assert k_centre(pool, labelled, 3, np.random.default_rng(0)).tolist() == [3, 2, 0]


def test_badge_starts_with_the_longest_gradient_and_avoids_what_it_has():
    pool = outputs(200)
    length = np.linalg.norm(pool.features, axis=1) * np.linalg.norm(
        pool.proba - np.eye(4)[pool.proba.argmax(axis=1)], axis=1
    )
    picked = badge_reference(pool, pool, 10, np.random.default_rng(0))
    assert picked[0] == length.argmax()


def test_badge_picks_every_distinct_row_before_a_duplicate():
    once = outputs(12)
    twice = Outputs(np.repeat(once.features, 2, axis=0), np.repeat(once.proba, 2, axis=0))
    picked = badge_reference(twice, twice, 16, np.random.default_rng(0))
    assert sorted(set(picked[:12] // 2)) == list(range(12))
    assert len(set(picked.tolist())) == 16
