"""Error probabilities for one pool: a summary of its scores, its drift, and a recalibration that needs no labels.

Everything is computed from histograms, so that a pool of any size is read as a stream and takes the same memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError
from ml_debugger.estimation.numbers import sigmoid

__all__ = ["SUMMARISED", "Drift", "PoolSummary", "Recalibration", "measure_drift", "recalibrate"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SUMMARISED: Final = ("error_proba", "score", "support")
"""Columns of scored rows that a summary holds."""

# Drift is looked for in what is made alike for both; out-of-fold probabilities differ a little from those of the pool.
COMPARED: Final = slice(1, 3)
N_COMPARED: Final = 2

N_BINS: Final = 1024
LIMIT: Final = 14.0  # log-odds; float32 softmax says no more than this
CENTRES: Final = (np.arange(N_BINS) + 0.5) * (2 * LIMIT / N_BINS) - LIMIT
# A difference is called drift where chance alone shows it in one of a hundred pools.
DRIFT_LEVEL: Final = 0.01
# Under a full drift the log-odds are this much less spread than on held-out rows: features and logits then tell less.
FLATTENING: Final = 0.1


@dataclass(slots=True)
class PoolSummary:
    """Histograms of scored rows, to be filled batch by batch.

    Attributes:
        n_rows: Rows so far.
        n_outliers: Those called outliers.
        total: Sum of ``error_proba``.
        counts: ``(3, N_BINS)`` rows per column of ``SUMMARISED`` and bin of its log-odds.
        wrong: ``(N_BINS,)`` errors per bin of ``error_proba``; zeros where labels are not known.
    """

    n_rows: int = 0
    n_outliers: int = 0
    total: float = 0.0
    counts: Int64 = field(default_factory=lambda: np.zeros((len(SUMMARISED), N_BINS), np.int64))
    wrong: Int64 = field(default_factory=lambda: np.zeros(N_BINS, np.int64))

    def add(
        self, scored: dict[str, NDArray[Any]], outlier: NDArray[np.bool_], wrong: NDArray[Any] | None = None
    ) -> None:
        """Add a batch.

        Args:
            scored: ``(N,)`` per column of ``SUMMARISED``, each in 0..1.
            outlier: ``(N,)`` whether the features of a row are not supported by the traced data.
            wrong: ``(N,)`` whether it is an error, where labels are known.

        Raises:
            InputError: If a probability is not in 0..1.
        """
        for name, counts in zip(SUMMARISED, self.counts, strict=True):
            counts += np.bincount(_bins(name, scored[name]), minlength=N_BINS)
        probability = scored["error_proba"]
        self.n_rows += len(probability)
        self.n_outliers += int(outlier.sum())
        self.total += float(probability.sum())
        if wrong is not None:
            chosen = np.asarray(wrong, dtype=bool)
            self.wrong += np.bincount(_bins("error_proba", probability[chosen]), minlength=N_BINS)

    @property
    def mean(self) -> float:
        """Mean ``error_proba``; NaN without rows."""
        return self.total / self.n_rows if self.n_rows else float("nan")

    @property
    def outlier_share(self) -> float:
        """Share of outliers; NaN without rows."""
        return self.n_outliers / self.n_rows if self.n_rows else float("nan")


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a pool differs from the held-out rows.

    Attributes:
        distance: Kolmogorov-Smirnov distance, of ``score`` or ``support``, the larger, 0..1.
        expected: What chance alone exceeds in one of a hundred pools.
        weight: 0 up to there, then rising towards 1: how much of a correction to apply.
    """

    distance: float
    expected: float
    weight: float


@dataclass(frozen=True, slots=True)
class Recalibration:
    """``slope * log-odds + shift`` with slope > 0: probabilities change, their order does not."""

    slope: float = 1.0
    shift: float = 0.0

    def apply(self, error_proba: NDArray[Any]) -> Float64:
        """``(N,)`` recalibrated probabilities; 0 and 1 stay what they are."""
        probability = np.asarray(error_proba, dtype=np.float64)
        if self == Recalibration():
            return probability
        odds_for = probability**self.slope * math.exp(self.shift)
        return np.asarray(odds_for / (odds_for + (1.0 - probability) ** self.slope))


def measure_drift(held_out: PoolSummary, pool: PoolSummary) -> Drift:
    """Two-sample Kolmogorov-Smirnov tests of ``score`` and of ``support``, Bonferroni-corrected."""
    if not (held_out.n_rows and pool.n_rows):
        return Drift(0.0, 1.0, 0.0)
    shares = [np.cumsum(one.counts[COMPARED], axis=1) / one.n_rows for one in (held_out, pool)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    scale = math.sqrt(-0.5 * math.log(DRIFT_LEVEL / N_COMPARED / 2))
    expected = min(1.0, scale * math.sqrt(1 / held_out.n_rows + 1 / pool.n_rows))
    weight = 1.0 - (expected / distance) ** 2 if distance > expected else 0.0
    return Drift(distance, expected, weight)


def recalibrate(held_out: PoolSummary, pool: PoolSummary) -> Recalibration:
    """Move the error probabilities so that their mean is the error rate that the pool's scores suggest.

    The suggestion is the larger of two: the mean of the probabilities as they are, and average thresholded confidence
    (ATC, Garg et al. 2022): the share of the pool above the threshold that as many held-out rows exceed as are wrong.
    The larger, since a drifted pool is rarely easier than its scores say. Both agree on a pool like the held-out rows;
    there the drift's weight is 0 and nothing changes.

    Args:
        held_out: Labelled rows with out-of-fold probabilities.
        pool: Rows without labels.

    Raises:
        InputError: If there are no held-out rows.
    """
    if not held_out.n_rows:
        raise InputError("held_out: expected labelled rows to compare the pool with, got none")
    weight = measure_drift(held_out, pool).weight
    if weight == 0.0:
        return Recalibration()
    static = _mean(pool.counts[0])
    above = thresholded_share(held_out.counts[0], held_out.wrong.sum(), pool.counts[0])
    slope = 1.0 - FLATTENING * weight
    target = sigmoid(raised(log_odds_of_share(static, pool.n_rows), log_odds_of_share(above, pool.n_rows), weight))
    return Recalibration(slope, _shift_to(pool.counts[0], slope, float(target)))


def raised(static: Any, thresholded: Any, weight: Any) -> Any:
    """Log-odds of the error rate: from the static estimate part of the way up to the thresholded one."""
    return static + weight * np.maximum(thresholded - static, 0.0)


def thresholded_share(held_out: NDArray[Any], n_wrong: Any, pool: NDArray[Any]) -> Float64:
    """Share of the pool above the threshold that ``n_wrong`` held-out rows exceed; histograms, over the last axis."""
    from_top = np.cumsum(held_out[..., ::-1], axis=-1, dtype=np.float64)
    wanted = np.asarray(n_wrong, dtype=np.float64)[..., None]
    position = (from_top < wanted).sum(axis=-1)[..., None].clip(max=N_BINS - 1)
    reached = np.take_along_axis(from_top, position, axis=-1)
    inside = np.take_along_axis(held_out[..., ::-1], position, axis=-1)
    # Within the bin that holds the threshold, rows of both kinds are spread evenly.
    part = np.where(inside > 0, 1.0 - (reached - wanted) / np.maximum(inside, 1), 0.0)
    pool_from_top = np.cumsum(pool[..., ::-1], axis=-1, dtype=np.float64)
    whole = np.take_along_axis(pool_from_top, position, axis=-1)
    pool_inside = np.take_along_axis(pool[..., ::-1], position, axis=-1)
    share = (whole - (1.0 - part) * pool_inside) / pool_from_top[..., -1:]
    return np.asarray(np.clip(share[..., 0], 0.0, 1.0))


def log_odds_of_share(share: Any, n_rows: int) -> Any:
    """Log-odds of a share of N rows, kept half a row away from none and all."""
    inside = np.clip(share, 0.5 / (n_rows + 1), 1.0 - 0.5 / (n_rows + 1))
    return np.log(inside) - np.log1p(-inside)


def _mean(counts: Int64) -> float:
    return float(counts @ sigmoid(CENTRES) / counts.sum())


def _shift_to(counts: Int64, slope: float, target: float) -> float:
    """The shift at which the mean probability is ``target``, by bisection."""
    low, high = -3 * LIMIT, 3 * LIMIT
    for _ in range(60):
        middle = (low + high) / 2
        if counts @ sigmoid(slope * CENTRES + middle) < target * counts.sum():
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _bins(name: str, values: NDArray[Any]) -> Int64:
    """``(N,)`` bin of each value's log-odds."""
    probability = np.asarray(values, dtype=np.float64)
    if not bool(((probability >= 0.0) & (probability <= 1.0)).all()):
        raise InputError(f"{name}: expected probabilities in 0..1, got values outside or NaN")
    with np.errstate(divide="ignore"):
        position = (np.log(probability) - np.log1p(-probability) + LIMIT) * (N_BINS / (2 * LIMIT))
    return np.clip(np.floor(position), 0, N_BINS - 1).astype(np.int64)
