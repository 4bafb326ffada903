"""Support: the share of held-out rows that are at least as outlying."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.outliers import MAX_REFERENCE, fit_outlier_axis, outlier_score, support_of


def test_support_of_held_out_rows_is_their_rank() -> None:
    descriptors = np.random.default_rng(0).normal(size=(200, 3))
    axis = fit_outlier_axis(descriptors)
    support = support_of(axis, outlier_score(axis, descriptors))
    assert sorted(support) == pytest.approx(np.arange(1, 201) / 200)
    assert (support < 0.02).sum() == 3
    far, near = np.full((1, 3), 99.0), np.full((1, 3), -99.0)
    assert support_of(axis, outlier_score(axis, far)) == [0.0]
    assert support_of(axis, outlier_score(axis, near)) == [1.0]


def test_constants_do_not_matter() -> None:
    descriptors = np.random.default_rng(0).normal(size=(50, 3))
    descriptors[:, 2] = 7.0
    axis = fit_outlier_axis(descriptors)
    moved = descriptors + np.array([0, 0, 5])
    np.testing.assert_array_equal(outlier_score(axis, moved), outlier_score(axis, descriptors))
    expected = (descriptors[:, :2] / descriptors[:, :2].std(axis=0)).sum(axis=1)
    assert (np.argsort(outlier_score(axis, descriptors)) == np.argsort(expected)).all()


def test_many_rows_keep_evenly_spaced_ranks() -> None:
    descriptors = np.random.default_rng(0).normal(size=(20000, 1))
    axis = fit_outlier_axis(descriptors)
    assert len(axis["reference"]) == MAX_REFERENCE
    assert (support_of(axis, outlier_score(axis, descriptors)) < 0.02).mean() == pytest.approx(0.02, abs=0.002)
