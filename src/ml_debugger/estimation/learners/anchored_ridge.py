"""Ridge logistic regression with two free anchors: the baseline and the best single descriptor.

Only the other descriptors and the category offsets are shrunk. With infinite shrinkage the model is the recalibrated
baseline,
which makes falling back a matter of degree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.learners.design import Arrays, Design, Float64, Int64, Learner
from ml_debugger.estimation.metrics import risk_coverage_area
from ml_debugger.estimation.numbers import log_loss, sigmoid

__all__ = ["LEARNER", "PENALTIES"]

PENALTIES: Final = (1e4, 300.0, 80.0, 20.0, 5.0, 1.0)
FREE = 1e-4
CLIP = 4.0


def fit(design: Design, target: NDArray[Any], folds: Int64) -> tuple[Arrays, Float64]:
    """Arrays and out-of-fold log-odds; the penalty is the one with the lowest out-of-fold log loss."""
    wrong = np.asarray(target, dtype=np.float64)
    out_of_fold = np.empty((len(PENALTIES), len(wrong)))
    for fold in np.unique(folds):
        inside = folds == fold
        path = _fit_path(design.rows(~inside), wrong[~inside])
        for row, arrays in zip(out_of_fold, path, strict=True):
            row[inside] = log_odds(arrays, design.rows(inside))
    losses = [log_loss(sigmoid(row), wrong).mean() for row in out_of_fold]
    best = int(np.argmin(losses))
    return _fit_path(design, wrong, stop=best)[best], out_of_fold[best]


def log_odds(arrays: Mapping[str, NDArray[Any]], design: Design) -> Float64:
    """``(U,)`` uncalibrated log-odds."""
    columns = _transform(arrays, design)
    return np.asarray((columns * arrays["weights"]).sum(axis=1) + arrays["offsets"][design.categories])


def _transform(arrays: Mapping[str, NDArray[Any]], design: Design) -> Float64:
    """``(U, 3 + K)``: one, two anchors, all descriptors; clipped to the range seen and standardised."""
    low, high, mean, scale = arrays["range"]
    raw = np.concatenate([design.baseline[:, None], design.descriptors], axis=1)
    standard = np.clip((np.clip(raw, low, high) - mean) * scale, -CLIP, CLIP)
    anchor = int(arrays["anchor"])
    columns = np.empty((len(raw), raw.shape[1] + 2))
    columns[:, 0] = 1.0
    columns[:, 1] = standard[:, 0]
    columns[:, 2] = standard[:, anchor] if anchor else 0.0
    columns[:, 3:] = standard[:, 1:]
    return columns


def _fit_path(design: Design, wrong: Float64, stop: int | None = None) -> list[Arrays]:
    """Fits for each penalty from the largest down to position ``stop``, each started from the one before."""
    shared = _ranges(design)
    shared["anchor"] = np.array(_best_anchor(design, wrong))
    problem = _Problem(_transform(shared, design), design.categories, design.n_categories, wrong)
    fits = []
    for penalty in PENALTIES[: len(PENALTIES) if stop is None else stop + 1]:
        weights, offsets = problem.solve(penalty)
        fits.append({**shared, "weights": weights, "offsets": offsets, "penalty": np.array(penalty)})
    return fits


def _ranges(design: Design) -> Arrays:
    raw = np.concatenate([design.baseline[:, None], design.descriptors], axis=1)
    low, high = np.quantile(raw, [0.005, 0.995], axis=0)
    deviation = raw.std(axis=0)
    varies = deviation > 1e-9
    return {
        "range": np.stack([low, high, raw.mean(axis=0), np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)])
    }


def _best_anchor(design: Design, wrong: Float64) -> int:
    """1 + position of the descriptor that ranks errors best, or 0 where none is better than the baseline."""
    areas = [risk_coverage_area(column, wrong) for column in design.descriptors.T]
    best = int(np.argmin(areas)) if areas else -1
    return best + 1 if areas and areas[best] < risk_coverage_area(design.baseline, wrong) else 0


class _Problem:
    """Penalised logistic regression; categories are eliminated from each Newton step, so thousands stay cheap."""

    def __init__(self, columns: Float64, categories: Int64, n_categories: int, wrong: Float64) -> None:
        self.columns, self.wrong, self.n_categories = columns, wrong, n_categories
        self.order = np.argsort(categories, kind="stable")
        self.categories = categories
        self.present, self.starts = np.unique(categories[self.order], return_index=True)
        rate = (wrong.mean() * len(wrong) + 0.5) / (len(wrong) + 1.0)
        self.weights = np.zeros(columns.shape[1])
        self.weights[0] = np.log(rate / (1.0 - rate))
        self.offsets = np.zeros(n_categories)

    def solve(self, penalty: float) -> tuple[Float64, Float64]:
        """Weights and category offsets, started from the previous solution."""
        ridge = np.full(self.columns.shape[1], penalty)
        ridge[:3] = FREE
        current = self._loss(self.weights, self.offsets, ridge, penalty)
        for _ in range(30):
            step, category_step = self._newton(ridge, penalty)
            previous, scale = current, 1.0
            while scale > 1e-4:
                weights, offsets = self.weights - scale * step, self.offsets - scale * category_step
                current = self._loss(weights, offsets, ridge, penalty)
                if current <= previous:
                    self.weights, self.offsets = weights, offsets
                    break
                scale /= 2.0
            if previous - current < 1e-7 * abs(previous):
                break
        return self.weights.copy(), self.offsets.copy()

    def _loss(self, weights: Float64, offsets: Float64, ridge: Float64, penalty: float) -> float:
        linear = self.columns @ weights + offsets[self.categories]
        fit_loss = (np.logaddexp(0.0, linear) - self.wrong * linear).sum()
        return float(fit_loss + 0.5 * ((ridge * weights**2).sum() + penalty * (offsets**2).sum()))

    def _newton(self, ridge: Float64, penalty: float) -> tuple[Float64, Float64]:
        mean = sigmoid(self.columns @ self.weights + self.offsets[self.categories])
        spread = np.maximum(mean * (1.0 - mean), 1e-5)
        difference = mean - self.wrong
        weighted = self.columns * spread[:, None]
        hessian = weighted.T @ self.columns + np.diag(ridge)
        gradient = self.columns.T @ difference + ridge * self.weights
        cross = np.zeros((self.n_categories, self.columns.shape[1]))
        cross[self.present] = np.add.reduceat(weighted[self.order], self.starts, axis=0)
        diagonal = np.bincount(self.categories, spread, self.n_categories) + penalty
        category_gradient = np.bincount(self.categories, difference, self.n_categories) + penalty * self.offsets
        scaled = cross / diagonal[:, None]
        step = np.linalg.solve(hessian - cross.T @ scaled, gradient - scaled.T @ category_gradient)
        return step, category_gradient / diagonal - scaled @ step


LEARNER: Final = Learner(fit=fit, log_odds=log_odds)
