"""Folds keep groups together and spread errors."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation.folds import grouped_folds, split_groups


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), st.integers(2, 6), st.integers(0, 3))
def test_groups_are_not_split(groups: list[int], n_folds: int, seed: int) -> None:
    names = np.array(groups)
    folds = grouped_folds(names, n_folds, seed=seed)
    assert folds.min() >= 0
    assert folds.max() < n_folds
    assert all(len(set(folds[names == name])) == 1 for name in set(groups))
    sizes = np.bincount([folds[names == name][0] for name in set(groups)], minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1


def test_errors_are_spread_evenly() -> None:
    errors = np.arange(100) < 10
    folds = grouped_folds(np.arange(100), 5, strata=errors)
    assert np.bincount(folds[errors]).tolist() == [2] * 5


def test_split_takes_its_share_of_whole_groups() -> None:
    groups = np.repeat(np.arange(30), 3)
    chosen = split_groups(groups, 1 / 3, seed=1)
    assert chosen.reshape(30, 3).all(axis=1).sum() == 10
    assert chosen.sum() == 30
    assert (chosen == split_groups(groups, 1 / 3, seed=1)).all()
    assert not split_groups(groups, 0.0).any()
