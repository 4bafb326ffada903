"""One opinion out of several: a product of experts with learned, non-negative weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.probes.choices import error_odds, log_mass
from ml_debugger.estimation.probes.sample import Sample, likelihood, log_softmax

__all__ = ["fit_mixture", "mixed"]

LEAST = -12.0  # log probability below which one expert cannot veto a class
PRIOR = 10.0

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def mixed(scores: Float64, own: Int64, weights: Float64) -> tuple[Float64, Float64]:
    """``(E, U)`` error log-odds of each expert, and ``(U,)`` of their product.

    Args:
        scores: ``(E, U, T)`` class scores.
        own: ``(U,)`` column of the predicted class.
        weights: ``(E,)``.
    """
    rest, mine = log_mass(scores, own)
    # Log probabilities are scores less a constant of the row, which the odds of the product do not depend on.
    least = np.logaddexp(rest, mine) + LEAST
    logs = np.maximum(scores, least[:, :, None])
    logs *= weights[:, None, None]
    return rest - mine, error_odds(logs.sum(axis=0), own)


def fit_mixture(scores: Float64, sample: Sample) -> Float64:
    """``(E,)`` weights >= 0 with the lowest log loss of the annotated class, shrunk towards equal ones."""
    from scipy.optimize import minimize

    column = sample.choices.find(sample.truth)
    rows = sample.compared()
    rows = rows[column[rows] >= 0]
    column, positions = column[rows], np.arange(len(rows))
    logs = np.stack([np.maximum(log_softmax(each[rows]), LEAST) for each in scores])
    equal = np.full(len(logs), 1.0 / len(logs))

    def loss(weights: Float64) -> tuple[float, Float64]:
        likely, residual = likelihood(np.tensordot(weights, logs, 1), column)
        residual[positions, column] -= 1.0
        value = -likely.sum() + 0.5 * PRIOR * ((weights - equal) ** 2).sum()
        return float(value), np.tensordot(logs, residual, 2) + PRIOR * (weights - equal)

    found = minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(equal))
    return np.asarray(found.x)
