"""Bins of equal mass, intervals of rates, frames from either kind of table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ml_debugger.errors import InputError
from ml_debugger.presentation.frames import as_frame, equal_mass_bins, rate_interval


def test_frames_come_from_arrow_and_pandas():
    table = pa.table({"a": [1, 2]})
    assert as_frame(table, ("a",)).equals(as_frame(table.to_pandas(), ("a",)))


def test_other_tables_and_missing_columns_are_refused():
    with pytest.raises(InputError, match="got list"):
        as_frame([1])
    with pytest.raises(InputError, match=r"missing \['b'\]"):
        as_frame(pd.DataFrame({"a": [1]}), ("a", "b"))


def test_wilson_interval_of_a_known_case():
    low, high = rate_interval(np.array([10]), np.array([100]))
    np.testing.assert_allclose([low[0], high[0]], [0.05523, 0.17437], atol=1e-5)


def test_intervals_stay_within_bounds_and_know_nothing_of_nothing():
    low, high = rate_interval(np.array([0, 5, 0]), np.array([5, 5, 0]))
    assert low[0] == 0
    assert 0 < high[0] < 1
    assert 0 < low[1] < 1
    assert high[1] == 1
    assert (low[2], high[2]) == (0, 1)


def test_bins_hold_equal_numbers_in_order():
    rng = np.random.default_rng(0)
    proba = rng.uniform(size=1000)
    wrong = rng.uniform(size=1000) < proba
    bins = equal_mass_bins(proba, wrong, 10)
    assert bins["count"].tolist() == [100] * 10
    assert bins["predicted"].is_monotonic_increasing
    top = np.sort(proba)[-100:]
    assert bins["predicted"].iloc[-1] == pytest.approx(top.mean())
    assert bins["observed"].iloc[-1] == pytest.approx(wrong[np.argsort(proba)[-100:]].mean())
    assert ((bins["low"] <= bins["observed"]) & (bins["observed"] <= bins["high"])).all()


def test_rows_without_a_probability_are_left_out():
    bins = equal_mass_bins(np.array([0.1, np.nan, 0.9]), np.array([False, True, True]), 2)
    assert bins["count"].tolist() == [1, 1]
    assert bins["observed"].tolist() == [0, 1]


def test_fewer_rows_than_bins_and_none_at_all():
    assert len(equal_mass_bins(np.array([0.5, 0.6]), np.array([True, False]), 10)) == 2
    assert len(equal_mass_bins(np.array([]), np.array([]), 10)) == 0


def test_bad_bins_and_lengths_are_refused():
    with pytest.raises(InputError, match="n_bins: expected at least 1, got 0"):
        equal_mass_bins(np.array([0.5]), np.array([True]), 0)
    with pytest.raises(InputError, match=r"is_error: expected \(2,\)"):
        equal_mass_bins(np.array([0.5, 0.6]), np.array([True]))
