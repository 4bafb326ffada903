"""Zones: exactly one per unit, first match wins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.zones import ORDER, ZoneLimits, assign_zones, fit_limits, zone_rules, zone_table
from ml_debugger.columns import ZONES

LIMITS = ZoneLimits(min_support=0.02, t_hi=0.3, c_hi=0.8, c_lo=0.5, t_lo=0.05)
DEFAULTS = {
    "outlier_share": 0.02,
    "c_lo_percentile": 40.0,
    "c_hi_percentile": 75.0,
    "t_hi": None,
    "c_lo": None,
    "c_hi": None,
}
unit = st.floats(0, 1)


def slow_zone(limits: ZoneLimits, proba: float, score: float, support: float) -> str:
    if support < limits.min_support:
        return "aleatoric_hotspot"
    if proba >= limits.t_hi:
        if score >= limits.c_hi:
            return "critical_hotspot"
        return "recessive_hotspot" if score < limits.c_lo else "hotspot"
    return "stable_coverage" if proba < limits.t_lo else "operational_coverage"


@settings(deadline=None)
@given(st.lists(st.tuples(unit, unit, unit), max_size=30), unit, unit, unit, unit, unit)
def test_zones_are_those_of_the_rules(rows, min_support, t_hi, c_hi, c_lo, t_lo) -> None:
    limits = ZoneLimits(min_support, t_hi, c_hi, c_lo, t_lo)
    table = np.array(rows, dtype=float).reshape(len(rows), 3)
    zones = assign_zones(limits, *table.T)
    assert zones.tolist() == [slow_zone(limits, *row) for row in rows]


def test_order_names_every_zone_once() -> None:
    assert sorted(ORDER) == sorted(ZONES)


def test_unknown_values_are_outliers() -> None:
    nan = np.array([np.nan, 0.1])
    assert assign_zones(LIMITS, nan, np.ones(2), nan[::-1]).tolist() == ["aleatoric_hotspot"] * 2


def test_limits_survive_json() -> None:
    assert ZoneLimits.from_json(LIMITS.to_json()) == LIMITS


@pytest.mark.parametrize(("rate", "t_hi"), [(0.01, 0.2), (0.15, 0.3), (0.6, 0.5)])
def test_t_hi_is_twice_the_error_rate_within_bounds(rate: float, t_hi: float) -> None:
    proba = np.linspace(0, 1, 101)
    assert fit_limits(proba, proba, np.ones(101), rate, DEFAULTS).t_hi == pytest.approx(t_hi)


def test_confidence_limits_are_percentiles_of_the_risky_supported_rows() -> None:
    random = np.random.default_rng(0)
    proba, score, support = random.random((3, 500))
    limits = fit_limits(proba, score, support, 0.2, DEFAULTS)
    risky = score[(proba >= 0.4) & (support >= 0.02)]
    assert (limits.c_lo, limits.c_hi) == pytest.approx(tuple(np.percentile(risky, [40, 75])))
    assert limits.t_lo == 0


def test_limits_that_were_set_are_kept() -> None:
    chosen = {**DEFAULTS, "t_hi": 0.33, "c_lo": 0.11, "c_hi": 0.99, "outlier_share": 0.0}
    limits = fit_limits(np.ones(5), np.ones(5), np.ones(5), 0.2, chosen)
    assert limits == ZoneLimits(min_support=0.0, t_hi=0.33, c_hi=0.99, c_lo=0.11, t_lo=0.0)


def test_without_risky_rows_confidence_is_split_in_the_middle() -> None:
    limits = fit_limits(np.zeros(5), np.ones(5), np.ones(5), 0.2, DEFAULTS)
    assert (limits.c_lo, limits.c_hi) == (0.5, 0.5)


def test_rules_name_their_numbers() -> None:
    rules = zone_rules(LIMITS)
    assert set(rules) == set(ZONES)
    assert rules["critical_hotspot"] == "error_proba >= 0.3 and score >= 0.8"
    assert "nothing can be promised" in zone_rules(ZoneLimits(0.02, 0.3, 0.8, 0.5, 0.0))["stable_coverage"]


def test_table_has_all_six_zones_and_exact_intervals() -> None:
    zones = np.array(["hotspot"] * 4 + ["stable_coverage"] * 6, dtype=object)
    wrong = np.array([True, True, True, False] + [False] * 6)
    table = zone_table(LIMITS, zones, wrong, "a promise").to_pylist()
    rows = {row["zone"]: row for row in table}
    assert [row["zone"] for row in table] == list(ZONES)
    assert rows["hotspot"]["count"] == 4
    assert rows["hotspot"]["share"] == 0.4
    assert rows["hotspot"]["error_rate"] == 0.75
    assert rows["hotspot"]["error_low"] < 0.75 < rows["hotspot"]["error_high"]
    assert rows["stable_coverage"]["promise"] == "a promise"
    assert rows["hotspot"]["promise"] is None
    assert rows["critical_hotspot"]["count"] == 0
    assert rows["critical_hotspot"]["error_rate"] is None


def test_table_of_nothing() -> None:
    from ml_debugger.analysis.certification import certify

    nothing = certify(np.empty(0), np.empty(0, dtype=bool), 0.1)
    table = zone_table(LIMITS, np.empty(0, dtype=object), np.empty(0, dtype=bool), nothing)
    assert table["share"].to_pylist() == [0.0] * 6
    assert table["promise"][0].as_py() == nothing.sentence
