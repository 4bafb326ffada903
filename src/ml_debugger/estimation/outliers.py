"""The outlier axis: how far a unit lies from what was traced, apart from how likely it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_outlier_axis", "outlier_score", "support_of"]

Float64 = NDArray[np.float64]
MAX_REFERENCE = 4096


def fit_outlier_axis(outlying: Float64) -> dict[str, NDArray[Any]]:
    """Arrays of the axis: the mean of J standardised columns, and how it is distributed among N held-out rows."""
    deviation = outlying.std(axis=0)
    arrays = {
        "mean": outlying.mean(axis=0),
        "scale": np.where(deviation > 1e-9, 1.0 / np.maximum(deviation, 1e-9), 0.0),
    }
    score = np.sort(outlier_score(arrays, outlying))
    if len(score) > MAX_REFERENCE:
        score = score[np.linspace(0, len(score) - 1, MAX_REFERENCE).round().astype(np.int64)]
    return {**arrays, "reference": score}


def outlier_score(arrays: Mapping[str, NDArray[Any]], outlying: Float64) -> Float64:
    """``(U,)``: larger = farther from the traced data."""
    return np.asarray(((outlying - arrays["mean"]) * arrays["scale"]).sum(axis=1) / outlying.shape[1])


def support_of(arrays: Mapping[str, NDArray[Any]], score: Float64) -> Float64:
    """``(U,)`` share of held-out rows that are at least as outlying, 0..1."""
    reference = arrays["reference"]
    return np.asarray(1.0 - np.searchsorted(reference, score, side="left") / len(reference))
