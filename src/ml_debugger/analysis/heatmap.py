"""Counts and error rates over confidence and error probability."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.errors import InputError

__all__ = ["heatmap"]

N_BINS = 20


def heatmap(
    score: NDArray[np.float64], error_proba: NDArray[np.float64], is_error: NDArray[np.bool_], n_bins: int = N_BINS
) -> pa.Table:
    """Cells of an even grid over confidence and error probability that hold at least one row.

    Args:
        score: ``(N,)`` the model's own confidence, 0..1; rows without a finite score are left out.
        error_proba: ``(N,)``, 0..1.
        is_error: ``(N,)``.
        n_bins: Cells along each axis.

    Returns:
        ``score_low, score_high, error_proba_low, error_proba_high, count, n_errors, error_rate``, one row per cell.

    Raises:
        InputError: If lengths differ or ``n_bins`` is less than 1.
    """
    if not len(score) == len(error_proba) == len(is_error):
        raise InputError(f"heatmap: expected equal lengths, got {len(score)}, {len(error_proba)} and {len(is_error)}")
    if n_bins < 1:
        raise InputError(f"n_bins: expected at least 1, got {n_bins}")
    usable = np.isfinite(score) & np.isfinite(error_proba)
    cell = _bins(score[usable], n_bins) * n_bins + _bins(error_proba[usable], n_bins)
    counts = np.bincount(cell, minlength=n_bins * n_bins)
    errors = np.bincount(cell, is_error[usable], n_bins * n_bins).astype(np.int64)
    filled = np.flatnonzero(counts)
    column, row = filled // n_bins, filled % n_bins
    return pa.table(
        {
            "score_low": column / n_bins,
            "score_high": (column + 1) / n_bins,
            "error_proba_low": row / n_bins,
            "error_proba_high": (row + 1) / n_bins,
            "count": counts[filled],
            "n_errors": errors[filled],
            "error_rate": errors[filled] / counts[filled],
        }
    )


def _bins(values: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    return np.clip((values * n_bins).astype(np.int64), 0, n_bins - 1)
