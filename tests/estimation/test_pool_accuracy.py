"""The estimated accuracy of a pool: right and covered without drift, wider and with a warning under drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_debugger.errors import InputError
from ml_debugger.estimation.pool import PoolSummary
from ml_debugger.estimation.pool_accuracy import estimate_accuracy
from tests.helpers.pools import drifted_by, labelled, summary


def test_without_drift_the_interval_covers_as_often_as_it_says():
    covered, widths = 0, []
    for seed in range(60):
        held_out, wrong = labelled(800, seed=seed)
        pool, truth = labelled(600, seed=1000 + seed)
        found = estimate_accuracy(summary(held_out, wrong), summary(pool))
        widths.append(found.high - found.low)
        covered += found.low <= 1 - truth.mean() <= found.high
    assert np.median(widths) < 0.1
    assert covered >= 52  # 57 expected; fewer than 52 would come up in less than one of 100 runs of a 95 % interval


def test_without_drift_there_is_no_warning():
    held_out, wrong = labelled()
    pool, truth = labelled(seed=9)
    found = estimate_accuracy(summary(held_out, wrong), summary(pool))
    assert found.accuracy == pytest.approx(1 - found.mean_error_proba)
    assert found.accuracy == pytest.approx(1 - truth.mean(), abs=0.03)
    assert found.warning is None
    assert found.drift <= found.drift_expected
    assert "outliers" in str(found)
    assert "Warning" not in str(found)


def test_under_drift_the_interval_widens_and_the_words_say_so():
    held_out, wrong = labelled()
    pool, truth = drifted_by(1.0)
    usual = estimate_accuracy(summary(held_out, wrong), summary(labelled(seed=9)[0]))
    found = estimate_accuracy(summary(held_out, wrong), summary(pool))
    assert found.high - found.low > 3 * (usual.high - usual.low)
    assert found.low <= 1 - truth.mean() <= found.high
    assert found.accuracy < 1 - found.mean_error_proba
    assert "drifted from the held-out rows" in found.warning
    assert "strategy='random'" in str(found)


def test_the_interval_widens_before_a_small_pool_can_be_called_drifted():
    held_out, wrong = labelled()
    pool, _ = labelled(100, seed=9)
    found = [
        estimate_accuracy(summary(held_out, wrong), summary({**pool, "support": np.linspace(0.0, top, 100)}))
        for top in (1.0, 0.82, 0.6)
    ]
    assert [one.drift > one.drift_expected for one in found] == [False, False, True]
    widths = [one.high - one.low for one in found]
    assert widths[0] * 1.1 < widths[1] < widths[2]


def test_many_outliers_warn_even_where_nothing_else_drifted():
    held_out, wrong = labelled()
    pool, _ = labelled(seed=9)
    outlier = np.arange(2000) % 5 == 0
    found = estimate_accuracy(summary(held_out, wrong), summary(pool, outlier=outlier))
    assert found.outlier_share == pytest.approx(0.2)
    assert "20.0% of it are outliers" in found.warning


@pytest.mark.parametrize("outcome", [False, True])
def test_one_kind_of_held_out_rows_gives_an_interval_inside_the_unit(outcome):
    held_out, _ = labelled(300)
    pool, _ = drifted_by(1.5, 50)
    found = estimate_accuracy(summary(held_out, np.full(300, outcome)), summary(pool))
    assert 0.0 <= found.low <= found.accuracy <= found.high <= 1.0


def test_one_row_is_a_pool():
    held_out, wrong = labelled()
    found = estimate_accuracy(summary(held_out, wrong), summary({k: v[:1] for k, v in held_out.items()}))
    assert found.n_rows == 1
    assert found.low < found.accuracy < found.high


def test_a_confident_pool_stays_inside_its_interval():
    """Probabilities of nearly zero: their mean lies below the half row that the interval is made around."""
    held_out, wrong = labelled()
    pool = {**labelled(100, seed=1)[0], "error_proba": np.full(100, 1e-9)}
    found = estimate_accuracy(summary(held_out, wrong), summary(pool))
    assert found.low <= found.accuracy <= found.high


def test_the_same_seed_gives_the_same_interval():
    held_out, wrong = labelled()
    pool, _ = drifted_by(0.5)
    one, same, other = (estimate_accuracy(summary(held_out, wrong), summary(pool), seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert other == replace(one, low=other.low, high=other.high)
    assert other.low != one.low


def test_no_rows_are_refused():
    held_out, wrong = labelled()
    with pytest.raises(InputError, match="pool: expected scored rows"):
        estimate_accuracy(summary(held_out, wrong), PoolSummary())
