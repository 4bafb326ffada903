"""Small numeric functions that fitting and prediction share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite_rows", "log_loss", "sigmoid"]

Float64 = NDArray[np.float64]


def finite_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """``(N,)`` whether all numbers of a row of ``(N, width)`` are finite."""
    flat = values.reshape(-1)
    if math.isfinite(np.vdot(flat, flat)):  # one pass says it of all rows, unless they are finite but huge
        return np.ones(len(values), dtype=bool)
    return np.asarray(np.isfinite(values).all(axis=1))


def sigmoid(log_odds: NDArray[Any]) -> Float64:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(log_odds))
    return np.asarray(np.where(log_odds >= 0, 1.0, small) / (1.0 + small))


def log_loss(probability: NDArray[Any], target: NDArray[Any]) -> Float64:
    """``(N,)`` negative log-likelihood of each row; probabilities are kept 1e-12 away from 0 and 1."""
    inside = np.clip(probability, 1e-12, 1.0 - 1e-12)
    return np.asarray(np.where(target > 0, -np.log(inside), -np.log1p(-inside)))
