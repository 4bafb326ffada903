"""Exact binomial intervals against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ml_debugger.analysis.intervals import binomial_interval, binomial_upper, mean_upper, rows_for_promise


@settings(deadline=None)
@given(rows=st.integers(1, 400), share=st.floats(0, 1))
def test_upper_bound_is_the_rate_at_which_so_few_events_have_probability_five_percent(rows: int, share: float) -> None:
    events = min(int(share * rows), rows - 1)
    bound = binomial_upper(events, rows)
    assert binom.cdf(events, rows, bound) == pytest.approx(0.05, abs=1e-6)


def test_interval_of_nothing_says_nothing() -> None:
    assert binomial_interval(0, 0) == (0.0, 1.0)
    assert binomial_upper(3, 3) == 1.0


def test_interval_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for events, rows in ((0, 10), (3, 10), (10, 10), (50, 1000)):
        expected = binomtest(events, rows).proportion_ci(method="exact")
        assert binomial_interval(events, rows) == pytest.approx((expected.low, expected.high))


@settings(deadline=None)
@given(risk=st.floats(0.001, 0.9), confidence=st.floats(0.5, 0.99))
def test_rows_for_promise_is_the_fewest_that_suffice(risk: float, confidence: float) -> None:
    rows = rows_for_promise(risk, confidence)
    assert binomial_upper(0, rows, confidence) <= risk + 1e-9
    assert rows == 1 or binomial_upper(0, rows - 1, confidence) > risk - 1e-9


def test_a_risk_of_one_needs_one_row() -> None:
    assert rows_for_promise(1.0) == 1


@pytest.mark.parametrize(("events", "rows"), [(0, 30), (3, 50), (20, 80)])
def test_a_mean_of_zeros_and_ones_is_bounded_a_little_above_the_exact_bound(events: int, rows: int) -> None:
    exact = binomial_upper(events, rows)
    assert exact - 1e-9 <= mean_upper(events / rows, rows) <= exact + 0.06


def test_the_bound_of_a_mean_covers_it() -> None:
    random, missed = np.random.default_rng(0), 0
    for _ in range(300):
        values = random.beta(0.3, 1.2, 60)
        missed += mean_upper(float(values.mean()), 60) < 0.2
    assert missed / 300 <= 0.05


def test_no_values_bound_nothing() -> None:
    assert mean_upper(0.0, 0) == 1.0
    assert mean_upper(1.0, 9) == 1.0
    assert mean_upper(0.0, rows_for_promise(0.1)) <= 0.1 + 1e-9
