"""What probes learn from, and the small fits that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.calibration import calibrate, fit_calibrator
from ml_debugger.estimation.folds import grouped_folds
from ml_debugger.estimation.numbers import log_loss
from ml_debugger.estimation.probes.choices import Choices, error_odds

__all__ = ["Sample", "error_loss", "fit_temperature", "likelihood", "log_softmax"]

SELECTION_ROWS = 5000  # rows on which hyper-parameters are compared
_SCALES = np.exp(np.linspace(-2.0, 4.0, 25))

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sample:
    """N held-out rows: the network did not learn from them.

    Attributes:
        points: ``(N, P)`` as placed by the bank.
        components: ``(N, P)`` principal components.
        logits: ``(N, T)`` float64, of the classes looked at.
        choices: Which those are.
        truth: ``(N,)`` annotated classes.
        wrong: ``(N,)`` 0/1 float64.
        groups: ``(N,)`` rows that must not be split between folds.
        n_classes: C.
        seed: Of folds and subsamples.
    """

    points: Float64
    components: Float64
    logits: Float64
    choices: Choices
    truth: Int64
    wrong: Float64
    groups: NDArray[Any]
    n_classes: int
    seed: int

    def __len__(self) -> int:
        return len(self.truth)

    def folds(self, count: int) -> Int64:
        """``(N,)`` folds by group, at most as many as there are groups."""
        return grouped_folds(self.groups, min(count, len(np.unique(self.groups))), strata=self.wrong, seed=self.seed)

    def some(self, count: int, among: NDArray[np.bool_] | None = None) -> Int64:
        """Up to ``count`` positions, in order; always the same ones."""
        positions = np.arange(len(self)) if among is None else np.flatnonzero(among)
        if len(positions) > count:
            positions = np.sort(np.random.default_rng(self.seed).permutation(positions)[:count])
        return positions.astype(np.int64)

    def compared(self) -> Int64:
        """Positions on which hyper-parameters are compared."""
        return self.some(SELECTION_ROWS)


def error_loss(scores: Float64, own: Int64, wrong: Float64) -> float:
    """Mean log loss of the errors by a probe's class scores, calibrated: what a probe is for, unlike its accuracy."""
    odds = error_odds(scores, own)
    return float(log_loss(calibrate(fit_calibrator(odds, wrong), odds), wrong).mean())


def log_softmax(scores: Float64) -> Float64:
    """Over the columns."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def likelihood(scores: Float64, column: Int64) -> tuple[Float64, Float64]:
    """``(N,)`` log of the softmax probability of one column of each row, and ``(N, T)`` of all; uses ``scores`` up."""
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[np.arange(len(scores)), column]
    mass = np.exp(scores, out=scores)
    total = mass.sum(axis=1, keepdims=True)
    mass /= total
    return chosen - np.log(total[:, 0]), mass


def fit_temperature(scores: Float64, column: Int64) -> float:
    """The scale t > 0 with the lowest log loss of softmax(t * scores); rows with column -1 say nothing."""
    known = np.flatnonzero(column >= 0)
    if len(known) == 0:
        return 1.0
    scores, column = scores[known], column[known]

    def loss(scale: float) -> float:
        return -float(likelihood(scores * scale, column)[0].mean())

    best = float(_SCALES[int(np.argmin([loss(float(scale)) for scale in _SCALES]))])
    for step in (1.12, 1.06, 1.03):
        best = min((best / step, best, best * step), key=loss)
    return best
