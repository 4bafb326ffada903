"""The adapter to the product, the controls, and the zones: on toy pairs, through the product's own code."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.error_detection import controls, metrics, zones
from benchmarks.error_detection.product import Traced, evaluate
from tests.benchmarks.error_detection.conftest import make_pair


@pytest.fixture(scope="module")
def big():
    return make_pair(seed=1, n=1500)


@pytest.fixture(scope="module")
def evaluated(big):
    return evaluate([Traced.of(big.train, "train"), Traced.of(big.val, "val")])


def test_estimates_rank_errors_and_are_calibrated(big, evaluated):
    test = big.reported["test"]
    found = evaluated.estimate(test)
    assert metrics.auroc(found.error_proba, test.errors) > 0.8
    assert metrics.ece(found.error_proba, test.errors) < metrics.ece_null(found.error_proba) + 0.03
    assert evaluated.metrics["error_rate"] == pytest.approx(big.val.errors.mean())
    assert set(found.zone) <= set(zones.ZONES)


def test_estimates_do_not_depend_on_the_batch(big, evaluated):
    test = big.reported["test"]
    whole, part = evaluated.estimate(test), evaluated.estimate(test.take(np.arange(700, 733)))
    assert np.array_equal(whole.error_proba[700:733], part.error_proba)


def test_options_reach_the_evaluation(big):
    found = evaluate([Traced.of(big.train, "train"), Traced.of(big.val, "val")], {"learners": ()})
    assert found.fell_back
    test = big.reported["test"]
    from benchmarks.error_detection.baselines.logits import msp

    proba = found.estimate(test).error_proba
    assert metrics.auroc(proba, test.errors) == pytest.approx(metrics.auroc(msp(test), test.errors), abs=1e-6)


def test_shuffled_errors_leave_nothing_to_find(big):
    name, found, test = controls.shuffled_errors(big, seed=0)
    assert name == "shuffled errors"
    assert test.errors.sum() == big.reported["test"].errors.sum()
    assert np.array_equal(test.logits, big.reported["test"].logits)
    assert metrics.auroc(found.estimate(test).error_proba, test.errors) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("control", [controls.same_ids, controls.duplicates])
def test_copies_do_not_make_the_result_optimistic(big, evaluated, control):
    _, found, test = control(big)
    honest = metrics.auroc(found.estimate(test).error_proba, test.errors)
    assert found.metrics["auroc"] < honest + 0.04
    assert found.metrics["auroc"] < evaluated.metrics["auroc"] + 0.03


def test_a_record_says_what_the_result_says_and_what_is_true(big):
    record = controls.control_rows(big)[0]
    assert record["control"] == "none"
    assert record["result_auroc"] == pytest.approx(record["test_auroc"], abs=0.05)


def test_zone_rows_add_up(big, evaluated):
    test = big.reported["test"]
    rows = zones.zone_rows(evaluated.estimate(test).zone, test.errors)
    assert sum(row["count"] for row in rows) == len(test)
    errors = sum(row["count"] * row["zone_error"] for row in rows if row["count"])
    assert errors == pytest.approx(test.errors.sum())


def make_zones(**counts):
    """Zone names and errors from ``zone=(rows, errors)``."""
    names = np.concatenate([np.array([zone] * n, dtype=object) for zone, (n, _) in counts.items()])
    errors = np.concatenate([np.arange(n) < wrong for n, wrong in counts.values()]).astype(np.int64)
    return names, errors


def test_a_promise_is_kept_broken_or_unlucky(evaluated):
    risk = evaluated.promised_risk
    assert risk is not None
    cases = {0.5: (True, False), 1.1: (False, False), 3.0: (False, True)}
    for factor, expected in cases.items():
        names, errors = make_zones(stable_coverage=(1000, round(factor * risk * 1000)), hotspot=(10, 9))
        row = zones.promise_row(evaluated, names, errors)
        assert (row["kept"], row["broken"]) == expected, factor


def test_order_is_of_stable_operational_and_all_hotspots():
    assert zones.is_ordered(*make_zones(stable_coverage=(100, 1), operational_coverage=(50, 5), hotspot=(10, 5)))
    assert not zones.is_ordered(*make_zones(stable_coverage=(100, 20), operational_coverage=(50, 5), hotspot=(10, 5)))
    assert zones.is_ordered(*make_zones(operational_coverage=(50, 5), critical_hotspot=(10, 5), hotspot=(10, 0)))


def test_the_lower_bound_is_exact():
    assert zones.lower_bound(0, 50) == 0
    bound = zones.lower_bound(5, 50)
    from scipy.stats import binom

    assert binom.sf(4, 50, bound) == pytest.approx(0.05)
