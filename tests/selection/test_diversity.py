from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.selection import diversity
from ml_debugger.selection.diversity import (
    cover,
    distinct_rows,
    gradient_spread,
    reduce_width,
    represent,
    spread,
    unit_rows,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(n_blobs, size, width=4, noise=0.01):
    """Rows around well separated corners, blob by blob."""
    centres = np.eye(n_blobs, max(width, n_blobs)) * 10
    return np.repeat(centres, size, axis=0) + rng().normal(size=(n_blobs * size, centres.shape[1])) * noise


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=2, max_size=2), max_size=20))
def test_distinct_rows_are_the_first_of_each(rows):
    x = np.array(rows, dtype=np.float32).reshape(-1, 2)
    seen, expected = set(), []
    for at, row in enumerate(rows):
        if tuple(row) not in seen:
            seen.add(tuple(row))
            expected.append(at)
    assert distinct_rows(x).tolist() == expected


def test_rows_without_width_are_all_the_same():
    assert distinct_rows(np.empty((3, 0), np.float32)).tolist() == [0]
    assert distinct_rows(np.empty((0, 0), np.float32)).tolist() == []


def test_spread_takes_one_of_each_blob_before_a_second():
    x = blobs(5, 20) + 1
    picked = spread(x, 5, rng())
    assert sorted(picked // 20) == [0, 1, 2, 3, 4]
    assert picked[0] == (x**2).sum(axis=1).argmax()


@given(n=st.integers(0, 12), seed=st.integers(0, 5))
def test_spread_never_picks_a_row_twice(n, seed):
    x = np.repeat(np.arange(4.0), 2)[:, None]
    picked = spread(x, n, rng(seed))
    assert len(set(picked.tolist())) == len(picked) == min(n, 8)


def test_spread_of_nothing():
    assert spread(np.empty((0, 3)), 4, rng()).shape == (0,)


def test_the_gradient_is_never_formed_but_is_what_is_spread():
    residual, features = rng(1).normal(size=(60, 3)), rng(2).normal(size=(60, 5))
    outer = np.einsum("ij,ik->ijk", residual, features).reshape(60, 15)
    assert gradient_spread(residual, features, 20, rng(3)).tolist() == spread(outer, 20, rng(3)).tolist()


def test_reducing_the_width_keeps_the_distances_that_matter():
    signal = rng(1).normal(size=(400, 6)) @ rng(2).normal(size=(6, 300))
    x = (signal + 0.01 * rng(3).normal(size=signal.shape)).astype(np.float32)
    centred = x - x.mean(axis=0)
    reduced = reduce_width(x)
    assert reduced.shape == (400, 48)
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced @ reduced.T, centred @ centred.T, rtol=0.02, atol=10)


def test_narrow_or_few_features_are_only_centred():
    x = rng().normal(3, 2, size=(100, 10))
    np.testing.assert_allclose(reduce_width(x), x - x.mean(axis=0))
    assert reduce_width(rng().normal(size=(20, 100))).shape == (20, 100)
    assert reduce_width(np.ones((3, 2))).tolist() == [[0, 0]] * 3
    assert reduce_width(np.empty((0, 7))).shape == (0, 7)


def test_unit_rows_leave_zeros():
    assert unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_represent_takes_the_middle_of_each_cluster_heaviest_first():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 9.0], [9.0, 0.0], [-9.0, -9.0]])
    x = np.concatenate([centre + rng.normal(size=(30, 2)) for centre in centres])
    weight = np.repeat([0.2, 0.9, 0.5], 30)
    picked = represent(x, weight, 3, np.random.default_rng(1))
    assert (picked // 30).tolist() == [1, 2, 0]
    for row in picked:
        blob = x[row // 30 * 30 : row // 30 * 30 + 30]
        from_middle = np.linalg.norm(blob - blob.mean(axis=0), axis=1)
        assert np.linalg.norm(x[row] - blob.mean(axis=0)) == pytest.approx(from_middle.min())


def test_represent_leans_towards_weight():
    """Where all rows are alike but for their weight, the centre lies where the weight is."""
    x = np.linspace(0, 1, 101)[:, None]
    light, heavy = (represent(x, weight, 1, np.random.default_rng(0))[0] for weight in (1 - x[:, 0], x[:, 0]))
    assert (light, heavy) == (33, 67)


@given(n=st.integers(0, 20), seed=st.integers(0, 5), weightless=st.booleans())
def test_represent_never_picks_a_row_twice(n, seed, weightless):
    x = np.random.default_rng(seed).integers(0, 2, (12, 2)).astype(np.float32)
    weight = np.zeros(12) if weightless else np.random.default_rng(seed).random(12)
    picked = represent(x, weight, n, np.random.default_rng(seed))
    assert len(picked) == len(set(picked.tolist())) == min(n, 12)


def test_represent_fills_up_with_the_heaviest_where_clusters_are_empty():
    x = np.zeros((5, 2))
    assert represent(x, np.array([0.1, 0.5, 0.2, 0.9, 0.3]), 3, np.random.default_rng(0)).tolist()[1:] == [3, 1]


def test_cover_takes_typical_points_of_uncovered_blobs():
    x = np.concatenate([blobs(4, 50), rng(9).uniform(50, 90, size=(3, 4))])  # three far outliers last
    labelled = blobs(4, 1)[:2]
    picked = cover(x, labelled, 2)
    assert sorted(picked // 50) == [2, 3]
    assert sorted(cover(x, np.empty((0, 4)), 4) // 50) == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [0, 1, 7, 150, 200, 500])
def test_cover_gives_distinct_points_as_many_as_there_are(n):
    x = blobs(4, 50)
    picked = cover(x, x[:3], n)
    assert len(set(picked.tolist())) == len(picked) == min(n, 200)


def test_cover_of_nothing_and_of_equal_points():
    assert cover(np.empty((0, 3)), np.ones((2, 3)), 4).tolist() == []
    assert cover(np.ones((5, 3)), np.ones((1, 3)), 3).tolist() == [0, 1, 2]


def test_crowded_balls_are_capped(monkeypatch):
    monkeypatch.setattr(diversity, "_LARGEST_BALL", 5)
    monkeypatch.setattr(diversity, "_BLOCK_ROWS", 16)
    x = blobs(2, 40)
    balls = diversity._balls(x, 100.0)
    assert (balls != balls.T).nnz == 0
    assert (balls.diagonal() == 1).all()
    assert balls.nnz <= 2 * 5 * len(x)
    assert len(set(cover(x, x[:1], 30).tolist())) == 30


def test_balls_hold_the_points_within_the_radius():
    x = rng().normal(size=(40, 2))
    expected = np.linalg.norm(x[:, None] - x, axis=2) <= 0.7
    assert (diversity._balls(x, 0.7).toarray() == expected).all()
