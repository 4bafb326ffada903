"""What inputs as a whole say: whether an object was missed, which no predicted box can tell."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.columns import FRAME_CONTEXT
from ml_debugger.estimation.error_model import ErrorModel
from ml_debugger.estimation.fit import FitSettings, Fitted, fit

__all__ = ["MISSED_PROBA", "fit_frames", "missed_probability"]

MISSED_PROBA: Final = "missed_proba"
LEAST: Final = 1e-3

Float64 = NDArray[np.float64]


def fit_frames(context: NDArray[Any], missed: NDArray[np.bool_], groups: NDArray[Any], settings: FitSettings) -> Fitted:
    """Learn from annotated inputs how likely one has an object that no prediction covers.

    Args:
        context: ``(B, F)`` in the columns `FRAME_CONTEXT`; NaN where unknown.
        missed: ``(B,)``.
        groups: ``(B,)`` inputs that must not be split.
        settings: Of the fit; the baseline is the number of predicted boxes.
    """
    return fit(*_described(context, missed, groups), settings)


def _described(
    context: NDArray[Any], missed: NDArray[np.bool_], groups: NDArray[Any]
) -> tuple[Float64, dict[str, NDArray[np.bool_]], NDArray[Any], Float64]:
    table, baseline = _columns(context)
    return table, {MISSED_PROBA: missed}, groups, baseline


def missed_probability(model: ErrorModel, context: NDArray[Any]) -> Float64:
    """``(B,)`` probability that an input has a missed object; NaN where the model did not learn it."""
    found = model.predict_frames(*_columns(context))
    return found.get(MISSED_PROBA, np.full(len(context), np.nan))


def _columns(context: NDArray[Any]) -> tuple[Float64, Float64]:
    """``(B, 8)`` descriptors, larger = more likely missed, and ``(B,)`` the number of boxes as log-odds."""
    known = np.zeros((len(context), len(FRAME_CONTEXT)))
    if context.shape[1] == len(FRAME_CONTEXT):
        known = np.nan_to_num(np.asarray(context, dtype=np.float64))
    named = dict(zip(FRAME_CONTEXT, known.T, strict=True))
    best = np.clip(named["free_score_max"], LEAST, 1.0 - LEAST)
    kept = np.log1p(named["n_kept"])
    table = [
        *(np.log1p(named[name]) for name in ("n_free_05", "n_free_10", "n_free_20", "n_free_threshold")),
        np.log(best) - np.log1p(-best),
        np.log1p(named["free_score_sum"]),
        -named["kept_score_mean"],
        -kept,
    ]
    return np.stack(table, axis=1), kept - 1.0
