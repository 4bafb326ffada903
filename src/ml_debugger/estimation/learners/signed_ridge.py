"""Ridge logistic regression that knows the sign of every descriptor, and how much of it to trust when data shift.

Every descriptor is oriented, so no weight may be negative: a negative one is a correlation of this sample, and the
first thing to break under shift. The ridge pulls towards the anchor with weight one, not towards zero.

Two such regressions are averaged in log-odds: one on all descriptors, one on those only that keep their meaning under
shift. Both are linear in the same standardised columns, so one weight per column remains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.learners.design import Arrays, Design, Float64, Int64, Learner
from ml_debugger.estimation.numbers import log_loss, sigmoid

__all__ = ["CAUTION", "LEARNER", "PENALTIES"]

PENALTIES: Final = (1000.0, 300.0, 100.0, 30.0, 10.0)  # lower ones gain nothing in distribution and lose under shift
CAUTION: Final = 0.4
"""Share of the cautious regression where a layout names cautious columns; see docs/decisions/0006."""
CUT: Final = 0.002  # share of the rows at each end beyond which a descriptor does not count for more
STEPS: Final = 300
SPREAD: Final = 4.0  # a penalty whose out-of-fold log-likelihood is so much lower weighs 1 / e where they are mixed


def fit(design: Design, target: NDArray[Any], folds: Int64) -> tuple[Arrays, Float64]:
    """Arrays and out-of-fold log-odds; each penalty is the one with the lowest out-of-fold log loss, or a mean."""
    wrong = np.asarray(target, dtype=np.float64)
    table = design.table()
    span = _span(table)
    columns, layout = _standardised(span, table), design.layout
    everything = range(columns.shape[1])
    parts = [(1.0, [*everything], layout.anchors)]
    if layout.cautious:
        parts = [
            (1.0 - CAUTION, [*everything], layout.anchors),
            (CAUTION, [0, *(1 + column for column in layout.cautious)], layout.cautious_anchors),
        ]
    weights, out_of_fold, penalties = np.zeros(1 + columns.shape[1]), np.zeros(len(wrong)), []
    for share, chosen, anchors in parts:
        anchored = [chosen.index(1 + anchor) for anchor in anchors] or [0]
        penalty, found, mine = _fit_part(columns[:, chosen], wrong, folds, anchored, layout.mixed)
        weights[0] += share * found[0]
        weights[1 + np.array(chosen)] += share * found[1:]
        out_of_fold += share * mine
        penalties.append(penalty)
    return {"span": span, "weights": weights, "penalties": np.array(penalties)}, out_of_fold


def log_odds(arrays: Mapping[str, NDArray[Any]], design: Design) -> Float64:
    """``(U,)`` uncalibrated log-odds."""
    return log_odds_of(arrays, design.table())


def log_odds_of(arrays: Mapping[str, NDArray[Any]], table: Float64) -> Float64:
    """The same, of what `Design.table` gave."""
    columns = _standardised(arrays["span"], table)
    return np.asarray((columns * arrays["weights"][1:]).sum(axis=1) + arrays["weights"][0])


def _span(table: Float64) -> Float64:
    """``(4, 1 + K)`` lowest and highest value that counts, mean and 1 / deviation (0 for a constant)."""
    low, high = np.quantile(table, [CUT, 1.0 - CUT], axis=0)
    cut = np.clip(table, low, high)
    deviation = cut.std(axis=0)
    varies = deviation > 1e-9
    return np.stack([low, high, cut.mean(axis=0), np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)])


def _standardised(span: NDArray[Any], table: Float64) -> Float64:
    low, high, mean, scale = span
    inside = np.minimum(np.maximum(table, low), high)
    inside -= mean
    inside *= scale
    return np.asarray(inside)


def _fit_part(
    columns: Float64, wrong: Float64, folds: Int64, anchors: Sequence[int], mixed: bool
) -> tuple[float, Float64, Float64]:
    """Penalty, ``(1 + K,)`` offset and weights, and out-of-fold log-odds, all on the scale of log-odds.

    Mixed penalties give the mean of all weights; the penalty told is the one that weighs most.
    """
    prior = np.zeros(columns.shape[1])
    prior[list(anchors)] = _line(columns[:, list(anchors)].mean(axis=1), wrong)[1] / len(anchors)
    path, tried = dict[int, Float64](), []
    for penalty in PENALTIES:
        out_of_fold = np.empty(len(wrong))
        for fold in np.unique(folds).tolist():
            inside = folds == fold
            found = _solve(columns[~inside], wrong[~inside], penalty, prior, path.get(fold))
            path[fold] = found
            out_of_fold[inside] = found[0] + columns[inside] @ found[1:]
        tried.append((float(log_loss(sigmoid(out_of_fold), wrong).mean()), penalty, out_of_fold))
    best, penalty, out_of_fold = min(tried, key=lambda one: one[0])
    parts = [(1.0, penalty)]
    if mixed:
        shares = np.exp([len(wrong) * (best - loss) / SPREAD for loss, _, _ in tried])
        shares /= shares.sum()
        parts = [(share, one[1]) for share, one in zip(shares.tolist(), tried, strict=True)]
        out_of_fold = np.asarray(sum(share * one[2] for share, one in zip(shares, tried, strict=True)))
    offset, slope = _line(out_of_fold, wrong)
    solved = [share * _solve(columns, wrong, one, prior, None) for share, one in parts]
    weights = slope * np.asarray(sum(solved[1:], solved[0]))
    weights[0] += offset
    return penalty, weights, offset + slope * out_of_fold


def _line(values: Float64, wrong: Float64) -> tuple[float, float]:
    """Offset and slope >= 0 of the log-odds on one column."""
    found = _solve(values[:, None], wrong, 1e-2, np.ones(1), None)
    return float(found[0]), float(found[1])


def _solve(columns: Float64, wrong: Float64, penalty: float, prior: Float64, start: Float64 | None) -> Float64:
    """``(1 + K,)`` free offset and weights >= 0 shrunk towards ``prior``."""
    from scipy.optimize import minimize

    def loss(point: Float64) -> tuple[float, Float64]:
        linear = point[0] + columns @ point[1:]
        away = point[1:] - prior
        residual = sigmoid(linear) - wrong
        value = (np.logaddexp(0.0, linear) - wrong * linear).sum() + 0.5 * penalty * (away @ away)
        return float(value), np.concatenate([[residual.sum()], columns.T @ residual + penalty * away])

    if start is None:
        rate = (wrong.sum() + 0.5) / (len(wrong) + 1.0)
        start = np.concatenate([[np.log(rate / (1.0 - rate))], prior])
    bounds = [(None, None), *[(0.0, None)] * len(prior)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return np.asarray(found.x)


LEARNER: Final = Learner(fit, log_odds)
