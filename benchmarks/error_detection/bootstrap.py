"""Paired bootstrap over the rows of one split: every method is measured on the same resamples.

The fitted methods and the trained network stay fixed, so the intervals speak of the rows' sampling only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "auroc_rows", "difference", "draw_weights", "e_aurc_rows", "mean_rows"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95 % interval; ``sign`` is +1 or -1 where the interval leaves zero out, else 0."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """Whether the difference is significant, and which way."""
        return int(self.low > 0) - int(self.high < 0)


def draw_weights(n_rows: int, resamples: int, seed: int) -> FloatArray:
    """``(R, N)`` float32: how often each row is in each resample with replacement."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, n_rows, (resamples, n_rows))
    flat = picks + n_rows * np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=resamples * n_rows).reshape(resamples, n_rows).astype(np.float32)


def auroc_rows(score: FloatArray, errors: IntArray, weights: FloatArray) -> FloatArray:
    """AUROC of each resample, ``(R,)``; ties count half, a resample without both kinds is NaN."""
    order = np.argsort(score, kind="stable")
    starts = _group_starts(score[order])
    sorted_weights, wrong = weights[:, order], errors[order] == 1
    negatives = _add_ties(np.where(wrong, 0, sorted_weights), starts)
    positives = _add_ties(np.where(wrong, sorted_weights, 0), starts)
    below = np.cumsum(negatives, axis=1, dtype=np.float64) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positives * below).sum(axis=1) / pairs


def e_aurc_rows(score: FloatArray, errors: IntArray, weights: FloatArray) -> FloatArray:
    """E-AURC of each resample, ``(R,)``: AURC minus that of the perfect ranking. Copies of a row are ties."""
    order = np.argsort(score, kind="stable")
    starts = _group_starts(score[order])
    rows = weights[:, order].astype(np.int32)
    mass = _add_ties(rows, starts)
    wrong = _add_ties(rows * errors[order], starts)
    before, wrong_before = np.cumsum(mass, axis=1) - mass, np.cumsum(wrong, axis=1) - wrong
    total, n_wrong = mass.sum(axis=1), wrong.sum(axis=1)
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, int(total.max()) + 1))]
    # A tied group of m rows with w errors, after M rows with E errors: sum over j=1..m of (E + j w/m) / (M + j).
    rate = wrong / np.maximum(mass, 1)
    area = wrong + (wrong_before - rate * before) * (harmonic[before + mass] - harmonic[before])
    n_right = total - n_wrong
    perfect = n_wrong - n_right * (harmonic[total] - harmonic[n_right])
    return (area.sum(axis=1) - perfect) / total


def mean_rows(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of per-row values in each resample, ``(R,)``; for Brier and NLL."""
    return weights @ values / weights.sum(axis=1)


def difference(value: float, rows: FloatArray) -> Difference:
    """The observed difference with the 2.5th and 97.5th percentile of its resamples; NaN resamples are left out."""
    kept = rows[np.isfinite(rows)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) else (np.nan, np.nan)
    return Difference(float(value), float(low), float(high))


def _add_ties(rows: NDArray, starts: IntArray) -> NDArray:
    """Sums over tied rows; nothing to do where there are none."""
    return rows if len(starts) == rows.shape[1] else np.add.reduceat(rows, starts, axis=1)


def _group_starts(ordered: FloatArray) -> IntArray:
    return np.r_[0, np.flatnonzero(np.diff(ordered)) + 1]
