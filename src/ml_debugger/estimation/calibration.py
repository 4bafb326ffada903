"""From log-odds to calibrated probabilities: Platt scaling, mixed with isotonic regression where errors are many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.numbers import log_loss, sigmoid

__all__ = ["MANY_ERRORS", "calibrate", "cross_calibrate", "fit_calibrator"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

MANY_ERRORS = 200  # fewer errors and isotonic regression follows noise
LIMIT = 30.0  # log-odds beyond this are cut: exp stays exact enough to rank
SLOPE_PRIOR = 1.0


def fit_calibrator(log_odds: Float64, target: NDArray[Any], *, isotonic: bool = False) -> Arrays:
    """Arrays of a calibrator fitted on N rows that the scored learner did not see.

    Platt (1999) with his smoothed targets and a weak prior that log-odds are already right (slope 1), so that few or
    no errors
    give a cautious probability that still ranks. ``isotonic`` mixes in isotonic regression with weight
    e / (2e + 100), e errors.
    """
    if not len(target):  # nothing is known: every probability is a half
        none = np.array(0.0)
        return {"line": np.zeros(2), "weight": none, "knots": np.zeros(1), "values": np.zeros(1), "n_rows": none}
    clipped = np.clip(log_odds, -LIMIT, LIMIT)
    positives = float(np.sum(target > 0))
    negatives = len(target) - positives
    soft = np.where(target > 0, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    intercept, slope = _fit_line(clipped, soft)
    few = min(positives, negatives)
    weight = 0.5 * few / (few + 50.0) if isotonic else 0.0
    knots, values = _isotonic(clipped, target) if isotonic else (np.zeros(1), np.zeros(1))
    return {
        "line": np.array([intercept, slope]),
        "weight": np.array(weight),
        "knots": knots,
        "values": values,
        "n_rows": np.array(float(len(target))),
    }


def calibrate(calibrator: Mapping[str, NDArray[Any]], log_odds: Float64) -> Float64:
    """``(U,)`` probabilities strictly between 0 and 1, increasing in ``log_odds``.

    With n rows of evidence they stay within [1/(2n+2), 1 - 1/(2n+2)], by shrinking rather than by cutting, which
    would tie.
    """
    clipped = np.minimum(np.maximum(log_odds, -LIMIT), LIMIT)
    intercept, slope = calibrator["line"].tolist()
    probability = sigmoid(intercept + slope * clipped)
    weight = float(calibrator["weight"])
    if weight > 0:
        probability = (1.0 - weight) * probability + weight * np.interp(
            clipped, calibrator["knots"], calibrator["values"]
        )
    n_rows = float(calibrator["n_rows"])
    return np.asarray((n_rows * probability + 0.5) / (n_rows + 1.0))


def cross_calibrate(log_odds: Float64, target: NDArray[Any], folds: Int64, *, isotonic: bool = False) -> Float64:
    """``(N,)`` out-of-fold probabilities: each fold is calibrated by what the other folds say."""
    result = np.empty(len(log_odds))
    for fold in np.unique(folds):
        inside = folds == fold
        if inside.all():
            inside_only = fit_calibrator(log_odds, target, isotonic=isotonic)
            return calibrate(inside_only, log_odds)
        result[inside] = calibrate(
            fit_calibrator(log_odds[~inside], target[~inside], isotonic=isotonic), log_odds[inside]
        )
    return result


def wants_isotonic(log_odds: Float64, target: NDArray[Any], folds: Int64) -> bool:
    """Whether the isotonic share lowers the out-of-fold log loss, and errors are many enough to try."""
    positives = int(np.sum(target > 0))
    if min(positives, len(target) - positives) < MANY_ERRORS:
        return False
    losses = [
        log_loss(cross_calibrate(log_odds, target, folds, isotonic=flag), target).mean() for flag in (False, True)
    ]
    return bool(losses[1] < losses[0])


def _fit_line(log_odds: Float64, soft: Float64) -> tuple[float, float]:
    """Intercept and slope >= 0 by Newton steps with halving, with the prior that the slope is 1."""

    def loss(line: Float64) -> float:
        linear = line[0] + line[1] * log_odds
        return float((np.logaddexp(0.0, linear) - soft * linear).sum() + 0.5 * SLOPE_PRIOR * (line[1] - 1.0) ** 2)

    line = np.array([0.0, 1.0])
    current = loss(line)
    for _ in range(50):
        mean = sigmoid(line[0] + line[1] * log_odds)
        spread = np.maximum(mean * (1.0 - mean), 1e-6)
        difference = mean - soft
        gradient = np.array([difference.sum(), difference @ log_odds + SLOPE_PRIOR * (line[1] - 1.0)])
        cross = spread @ log_odds
        hessian = np.array([[spread.sum(), cross], [cross, spread @ (log_odds * log_odds) + SLOPE_PRIOR]])
        step = np.linalg.solve(hessian, gradient)
        line, current, moved = _descend(loss, line, step, current)
        if moved < 1e-9 * max(abs(current), 1.0):
            break
    if line[1] <= 0.0:  # the best line with a slope of 0, not the best falling line made flat
        rate = float(soft.mean())
        return float(np.log(rate / (1.0 - rate))), 0.0
    return float(line[0]), float(line[1])


def _descend(loss: Any, point: Float64, step: Float64, current: float) -> tuple[Float64, float, float]:
    scale = 1.0
    while scale > 1e-6:
        candidate = point - scale * step
        value = loss(candidate)
        if value <= current:
            return candidate, value, current - value
        scale /= 2.0
    return point, current, 0.0


def _isotonic(log_odds: Float64, target: NDArray[Any]) -> tuple[Float64, Float64]:
    """Knots and values of isotonic regression, one knot in the middle of each pool; rows that tie share one pool."""
    from scipy.optimize import isotonic_regression

    positions, member, counts = np.unique(log_odds, return_inverse=True, return_counts=True)
    rates = np.bincount(member, target > 0) / counts
    pools = isotonic_regression(rates, weights=counts.astype(np.float64)).blocks[:-1]
    rows = np.add.reduceat(counts, pools)
    knots = np.add.reduceat(positions * counts, pools) / rows
    return knots, np.add.reduceat(rates * counts, pools) / rows
