from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.active_learning.summary import (
    area,
    budget_gain,
    gain,
    overall_gain,
    setting_gain,
    tabulate,
)


def rows_of(curves: dict[tuple[str, str], list[list[float]]], sizes=(10, 20, 80), draw: int = 0) -> list[dict]:
    return [
        {"setting": setting, "strategy": strategy, "seed": seed, "draw": draw, "n_labels": n, "accuracy": value}
        for (setting, strategy), seeds in curves.items()
        for seed, curve in enumerate(seeds)
        for n, value in zip(sizes, curve, strict=True)
    ]


@pytest.fixture
def table():
    return tabulate(
        rows_of(
            {
                ("a", "random"): [[0.5, 0.6, 0.7], [0.5, 0.6, 0.8], [0.4, 0.6, 0.7]],
                ("a", "x"): [[0.5, 0.7, 0.8], [0.5, 0.7, 0.91], [0.4, 0.7, 0.8]],
                ("b", "random"): [[0.1, 0.2, 0.3]] * 3,
                ("b", "x"): [[0.1, 0.1, 0.1]] * 3,
            }
        )
    )


def test_the_area_weighs_each_doubling_alike(table):
    # From 10 to 20 is one doubling, from 20 to 80 two.
    expected = ((0.5 + 0.6) / 2 + 2 * (0.6 + 0.7) / 2) / 3
    assert area(table, "a", "random")[0] == pytest.approx(expected)
    assert area(tabulate(rows_of({("a", "random"): [[0.4] * 3]})), "a", "random") == pytest.approx(0.4)


def test_draws_of_one_seed_are_averaged(table):
    both = tabulate(rows_of({("a", "random"): [[0.5] * 3]}) + rows_of({("a", "random"): [[0.7] * 3]}, draw=1))
    assert both.accuracy["a", "random"].tolist() == [[0.6] * 3]


def test_intervals_are_those_of_the_paired_t_test(table):
    found = setting_gain(table, "a", "x")
    test = stats.ttest_rel(area(table, "a", "x"), area(table, "a", "random"))
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.verdict == 1
    assert setting_gain(table, "b", "x").verdict == -1


def test_over_settings_each_counts_once(table):
    means = [setting_gain(table, name, "x").mean for name in ("a", "b")]
    assert overall_gain(table, "x").mean == pytest.approx(np.mean(means))
    assert overall_gain(table, "x", settings=("b",)).mean == pytest.approx(means[1])
    assert budget_gain(table, "x", 2).mean == pytest.approx((0.31 / 3 - 0.2) / 2)
    assert budget_gain(table, "x", 0).mean == 0


def test_one_seed_has_no_interval():
    only = gain(np.array([0.1]))
    assert only.mean == pytest.approx(0.1)
    assert np.isnan(only.low)
    assert only.verdict == 0


def test_budgets_must_agree():
    rows = rows_of({("a", "random"): [[0.1] * 3]}) + rows_of({("a", "x"): [[0.1] * 3]}, sizes=(10, 20, 40))
    with pytest.raises(ValueError, match=r"x was measured at \[10, 20, 40\]"):
        tabulate(rows)
