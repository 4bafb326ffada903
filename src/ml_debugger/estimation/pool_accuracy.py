"""How accurate a model is on a pool without labels, with an interval that grows with the pool's drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError
from ml_debugger.estimation.numbers import sigmoid
from ml_debugger.estimation.pool import (
    CENTRES,
    Drift,
    PoolSummary,
    log_odds_of_share,
    measure_drift,
    raised,
    recalibrate,
    thresholded_share,
)

__all__ = ["AccuracyEstimate", "estimate_accuracy"]

Float64 = NDArray[np.float64]

CONFIDENCE: Final = 0.95
NORMAL: Final = 1.96  # standard deviations on each side of a normal distribution that hold CONFIDENCE of it
DRAWS: Final = 400
# Half-width in log-odds that a drift adds: SPREAD * sqrt(distance). Fixed on half of the development pairs so that
# the shifted pools lie inside, see docs/concepts/pool-shift.md; nothing bounds what another shift can do.
SPREAD: Final = 1.25
# A small pool may have drifted without a test telling: from this part of the distance expected by chance onwards the
# interval starts to widen, and where drift is called it is as wide as for a large pool. Chosen on the same half.
ONSET: Final = 0.6
# Three times the share that the outlier zone has among held-out rows.
MANY_OUTLIERS: Final = 3.0


@dataclass(frozen=True, slots=True)
class AccuracyEstimate:
    """Estimated accuracy on a pool; to be read together with ``outlier_share`` and ``warning``.

    Attributes:
        accuracy: Share of the pool's rows that are right, estimated.
        low: Lower end of the interval.
        high: Upper end. On pools like the held-out rows the interval is a 95 % bootstrap interval over the rows of
            both; under drift it is wider by what was seen on development data, and nothing is guaranteed.
        mean_error_proba: Mean of ``error_proba`` as it is; 1 minus it is the estimate that takes no notice of drift.
        n_rows: Rows of the pool.
        outlier_share: Share of them in zone ``aleatoric_hotspot``.
        held_out_outlier_share: The same among the held-out rows.
        drift: Kolmogorov-Smirnov distance between pool and held-out rows, of ``score`` or ``support``, the larger.
        drift_expected: The distance that chance alone exceeds in one of a hundred pools.
        warning: What is wrong with the pool, in words; None where it is like the held-out rows.
    """

    accuracy: float
    low: float
    high: float
    mean_error_proba: float
    n_rows: int
    outlier_share: float
    held_out_outlier_share: float
    drift: float
    drift_expected: float
    warning: str | None = None

    def __str__(self) -> str:
        text = (
            f"accuracy {self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%}) estimated for {self.n_rows} rows, "
            f"{self.outlier_share:.1%} of them outliers (held-out rows: {self.held_out_outlier_share:.1%})"
        )
        return text if self.warning is None else f"{text}. {self.warning}"


def estimate_accuracy(held_out: PoolSummary, pool: PoolSummary, *, seed: int = 0) -> AccuracyEstimate:
    """Estimate the accuracy on a pool from its scores.

    The error rate is the mean of the recalibrated probabilities (``pool.recalibrate``). The interval is made in
    log-odds: a bootstrap over held-out and pool rows, and under drift a further width that grows with its distance.

    Args:
        held_out: Labelled rows with out-of-fold probabilities.
        pool: Rows without labels.
        seed: Of the bootstrap draws.

    Raises:
        InputError: If either has no rows.
    """
    if not pool.n_rows:
        raise InputError("pool: expected scored rows to estimate the accuracy of, got none")
    drift = measure_drift(held_out, pool)
    chances = recalibrate(held_out, pool).apply(sigmoid(CENTRES))
    rate = float(chances @ pool.counts[0]) / pool.n_rows if drift.weight else pool.mean
    centre = float(log_odds_of_share(rate, pool.n_rows))
    spread = _suspicion(drift) * SPREAD * math.sqrt(drift.distance)
    half = math.hypot(NORMAL * _sampling_deviation(held_out, pool, drift.weight, seed), spread)
    low, high = (float(sigmoid(np.array(centre + sign * half))) for sign in (-1.0, 1.0))
    return AccuracyEstimate(
        accuracy=1.0 - rate,
        low=1.0 - max(high, rate),
        high=1.0 - min(low, rate),
        mean_error_proba=pool.mean,
        n_rows=pool.n_rows,
        outlier_share=pool.outlier_share,
        held_out_outlier_share=held_out.outlier_share,
        drift=drift.distance,
        drift_expected=drift.expected,
        warning=_explain(held_out, pool, drift),
    )


def _suspicion(drift: Drift) -> float:
    """0 for a distance that is usual by chance, rising to 1 where it is called drift."""
    return min(1.0, max(0.0, (drift.distance / drift.expected - ONSET) / (1.0 - ONSET)))


def _sampling_deviation(held_out: PoolSummary, pool: PoolSummary, weight: float, seed: int) -> float:
    """Standard deviation of the error rate's log-odds over bootstrap draws of held-out and pool rows and outcomes."""
    random = np.random.default_rng(seed)
    chances = sigmoid(CENTRES)
    right = held_out.counts[0] - held_out.wrong
    labelled = _draw(random, np.concatenate([right, held_out.wrong]))
    rows, wrong = labelled[:, : len(right)] + labelled[:, len(right) :], labelled[:, len(right) :].sum(axis=1)
    drawn = _draw(random, pool.counts[0])
    # How far the probabilities are off on held-out rows, drawn anew: the uncertainty of the calibration.
    bias = (wrong - rows @ chances) / held_out.n_rows
    outcomes = random.standard_normal(DRAWS) * math.sqrt(pool.counts[0] @ (chances * (1.0 - chances))) / pool.n_rows
    static = drawn @ chances / pool.n_rows + (bias - bias.mean()) + outcomes
    above = thresholded_share(rows, wrong, drawn) + outcomes
    rates = raised(log_odds_of_share(static, pool.n_rows), log_odds_of_share(above, pool.n_rows), weight)
    return float(np.std(rates))


def _draw(random: np.random.Generator, counts: NDArray[Any]) -> NDArray[np.int64]:
    """``(DRAWS, K)``: as many rows drawn with replacement, counted by cell."""
    occupied = np.flatnonzero(counts)
    drawn = np.zeros((DRAWS, len(counts)), np.int64)
    drawn[:, occupied] = random.multinomial(counts.sum(), counts[occupied] / counts.sum(), DRAWS)
    return drawn


def _explain(held_out: PoolSummary, pool: PoolSummary, drift: Drift) -> str | None:
    reasons = []
    if drift.weight > 0.0:
        reasons.append(
            f"the pool has drifted from the held-out rows (distance {drift.distance:.2f}, "
            f"by chance up to {drift.expected:.2f})"
        )
    usual = max(held_out.outlier_share, 1.0 / held_out.n_rows)
    allowed = MANY_OUTLIERS * (usual * pool.n_rows + NORMAL * math.sqrt(usual * pool.n_rows))
    if pool.n_outliers > allowed:
        reasons.append(f"{pool.outlier_share:.1%} of it are outliers (held-out rows: {held_out.outlier_share:.1%})")
    if not reasons:
        return None
    return (
        f"Warning: {' and '.join(reasons)}: the true accuracy may lie outside the interval; label a random sample "
        "(strategy='random') before you rely on it"
    )
