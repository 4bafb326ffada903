"""What the pictures need from a table: frames from Arrow or pandas, bins of equal mass, intervals of a rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from ml_debugger.errors import InputError
from ml_debugger.types import FloatArray

if TYPE_CHECKING:
    import pandas as pd

    Table: TypeAlias = pa.Table | pd.DataFrame

__all__ = ["as_frame", "equal_mass_bins", "rate_interval"]

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def as_frame(table: Table, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A pandas frame of an Arrow table or a pandas frame.

    Raises:
        InputError: If one of the ``columns`` is missing, or ``table`` is neither.
    """
    import pandas as pd

    if isinstance(table, pa.Table):
        frame: pd.DataFrame = table.to_pandas()
    elif isinstance(table, pd.DataFrame):
        frame = table
    else:
        raise InputError(f"table: expected a pandas DataFrame or an Arrow table, got {type(table).__name__}")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"table: expected columns {list(columns)}, missing {missing}")
    return frame


def rate_interval(n_errors: FloatArray, count: FloatArray) -> tuple[FloatArray, FloatArray]:
    """95 % interval of error rates (Wilson, 1927). Nothing counted: 0..1.

    Args:
        n_errors: ``(K,)`` errors per bin.
        count: ``(K,)`` rows per bin.

    Returns:
        Lower and upper ends, ``(K,)`` each.
    """
    errors, rows = np.asarray(n_errors, float), np.asarray(count, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = errors / rows
        shrink = 1 + _Z95**2 / rows
        centre = (rate + _Z95**2 / (2 * rows)) / shrink
        half = _Z95 / shrink * np.sqrt(rate * (1 - rate) / rows + _Z95**2 / (4 * rows**2))
    low = np.where(rows > 0, np.minimum(centre - half, rate), 0.0)
    high = np.where(rows > 0, np.maximum(centre + half, rate), 1.0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def equal_mass_bins(proba: FloatArray, is_error: FloatArray, n_bins: int = 10) -> pd.DataFrame:
    """Rows sorted by a predicted error probability and cut into bins of (nearly) equal size.

    Args:
        proba: ``(N,)`` predicted probability of an error; rows without one (NaN) are left out.
        is_error: ``(N,)`` whether the row was wrong.
        n_bins: Number of bins; fewer when there are fewer rows.

    Returns:
        One row per bin: ``predicted`` (mean), ``observed`` (error rate), ``low``, ``high`` (its interval), ``count``.

    Raises:
        InputError: If ``n_bins`` is not positive or the lengths differ.
    """
    import pandas as pd

    values, wrong = np.asarray(proba, float), np.asarray(is_error, float)
    if n_bins < 1:
        raise InputError(f"n_bins: expected at least 1, got {n_bins}")
    if values.shape != wrong.shape:
        raise InputError(f"is_error: expected {values.shape}, one entry per probability, got {wrong.shape}")
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    values, wrong = values[known], wrong[known]
    count = np.array([len(part) for part in parts], float)
    errors = np.array([wrong[part].sum() for part in parts])
    low, high = rate_interval(errors, count)
    return pd.DataFrame(
        {
            "predicted": np.array([values[part].mean() for part in parts]),
            "observed": errors / count,
            "low": low,
            "high": high,
            "count": count.astype(np.int64),
        }
    )
