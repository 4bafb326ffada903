"""Pool-adaptive recalibration: order kept, identical pools left alone, hard pools raised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml_debugger.errors import InputError
from ml_debugger.estimation.metrics import ece
from ml_debugger.estimation.pool import (
    N_BINS,
    PoolSummary,
    Recalibration,
    measure_drift,
    recalibrate,
    thresholded_share,
)
from tests.helpers.pools import drifted_by, labelled, scores, summary

PROBABILITIES = arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0.0, 1.0))


@given(PROBABILITIES, st.floats(0.5, 1.0), st.floats(-5.0, 5.0))
def test_a_recalibration_keeps_the_order_and_the_range(probability, slope, shift):
    changed = Recalibration(slope, shift).apply(probability)
    assert ((changed >= 0) & (changed <= 1)).all()
    order = np.argsort(probability, kind="stable")
    # Neighbours one unit of rounding apart may round to one value, but never swap.
    assert (np.diff(changed[order]) >= -1e-15).all()


def test_a_recalibration_is_strictly_monotone():
    probability = np.concatenate([[0.0, 1e-12], np.linspace(1e-6, 1 - 1e-6, 10_001), [1.0]])
    for slope, shift in ((0.9, 2.0), (0.95, -3.0), (1.0, 0.5)):
        changed = Recalibration(slope, shift).apply(probability)
        assert (np.diff(changed) > 0).all()
        assert changed[0] == 0.0
        assert changed[-1] == 1.0


def test_without_a_change_the_bits_stay():
    probability = np.random.default_rng(0).random(100)
    assert Recalibration().apply(probability).tobytes() == probability.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_a_pool_like_the_held_out_rows_keeps_its_probabilities(seed):
    held_out, wrong = labelled(seed=seed)
    pool, _ = labelled(3000, seed=100 + seed)
    assert recalibrate(summary(held_out, wrong), summary(pool)) == Recalibration()


def test_the_held_out_rows_themselves_do_not_drift():
    held_out, wrong = labelled()
    drift = measure_drift(summary(held_out, wrong), summary(held_out))
    assert drift.distance == 0.0
    assert drift.weight == 0.0


def test_a_harder_pool_is_raised_and_better_calibrated():
    held_out, wrong = labelled()
    pool, truth = drifted_by(1.0)
    found = recalibrate(summary(held_out, wrong), summary(pool))
    changed = found.apply(pool["error_proba"])
    assert changed.mean() > pool["error_proba"].mean() + 0.01
    assert ece(changed, truth) < ece(pool["error_proba"], truth) - 0.01
    assert found.slope < 1.0


def test_an_easier_pool_is_not_lowered():
    """Its own probabilities say already that it is easy; the threshold would say so twice."""
    held_out, wrong = labelled()
    rng = np.random.default_rng(1)
    pool = scores(rng.normal(-3.5, 1.5, 2000))
    changed = recalibrate(summary(held_out, wrong), summary(pool)).apply(pool["error_proba"])
    assert changed.mean() == pytest.approx(pool["error_proba"].mean(), rel=0.02)


def test_a_pool_of_unsupported_features_has_drifted():
    held_out, wrong = labelled()
    pool, _ = labelled(seed=5)
    drift = measure_drift(summary(held_out, wrong), summary({**pool, "support": np.zeros(2000)}))
    assert drift.distance > 0.9
    assert 0.9 < drift.weight < 1.0


def test_an_empty_pool_changes_nothing():
    held_out, wrong = labelled()
    empty = PoolSummary()
    assert recalibrate(summary(held_out, wrong), empty) == Recalibration()
    assert np.isnan(empty.mean)
    assert np.isnan(empty.outlier_share)


def test_held_out_rows_are_needed():
    with pytest.raises(InputError, match="held_out: expected labelled rows"):
        recalibrate(PoolSummary(), summary(labelled()[0]))


@pytest.mark.parametrize("outcome", [False, True])
def test_one_kind_of_held_out_rows_still_gives_probabilities(outcome):
    held_out, _ = labelled()
    pool, _ = drifted_by(1.5)
    found = recalibrate(summary(held_out, np.full(2000, outcome)), summary(pool))
    changed = found.apply(pool["error_proba"])
    assert np.isfinite(changed).all()
    assert (np.diff(changed[np.argsort(pool["error_proba"])]) >= 0).all()
    assert (changed.mean() > 0.99) == outcome


def test_batches_add_up():
    held_out, wrong = labelled()
    outlier = np.arange(2000) % 50 == 0
    parts = PoolSummary()
    for rows in np.array_split(np.arange(2000), 7):
        parts.add({name: values[rows] for name, values in held_out.items()}, outlier[rows], wrong[rows])
    whole = summary(held_out, wrong, outlier)
    np.testing.assert_array_equal(parts.counts, whole.counts)
    np.testing.assert_array_equal(parts.wrong, whole.wrong)
    assert (parts.n_rows, parts.n_outliers) == (2000, 40)
    assert parts.mean == pytest.approx(held_out["error_proba"].mean())
    assert parts.outlier_share == 0.02


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(value):
    scored, _ = labelled(10)
    with pytest.raises(InputError, match=r"error_proba: expected probabilities in 0\.\.1"):
        summary({**scored, "error_proba": np.full(10, value)})


@given(
    arrays.arrays(np.int64, N_BINS, elements=st.integers(0, 5), fill=st.just(0)).filter(lambda counts: counts.any()),
    st.floats(0.0, 1.0),
)
def test_the_share_above_a_threshold_of_the_same_rows_is_the_share_wanted(counts, share):
    n_wrong = np.floor(share * counts.sum())
    assert thresholded_share(counts, n_wrong, counts) == pytest.approx(n_wrong / counts.sum())


def test_the_threshold_is_that_of_sorted_rows():
    held_out, wrong = labelled(20_000)
    pool, _ = drifted_by(1.0, 20_000)
    threshold = np.quantile(held_out["error_proba"], 1 - wrong.mean())
    found = thresholded_share(summary(held_out).counts[0], wrong.sum(), summary(pool).counts[0])
    assert found == pytest.approx((pool["error_proba"] > threshold).mean(), abs=2e-3)
