"""Scores from methods that promise validity under exchangeability: Venn-Abers and conformal prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.error_detection.baselines import logits
from benchmarks.error_detection.baselines.method import Rows, Score, best_of
from benchmarks.error_detection.traces import Split

__all__ = ["fit_conformal", "fit_venn_abers", "venn_abers_bounds"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
MOST_GROUPS = 512


def fit_venn_abers(rows: Rows) -> Score:
    """Inductive Venn-Abers probability of an error from the MSP (Vovk, Petej & Fedorova, NeurIPS 2015), as log-odds.

    ``p1 / (1 - p0 + p1)`` merges the two isotonic fits. MSP decides between rows whose probability is tied.
    """
    known = logits.msp(rows.val)
    groups = _equal_mass(known, rows.val.errors)

    def score(split: Split) -> FloatArray:
        found = logits.msp(split)
        low, high = venn_abers_bounds(*groups, found)
        proba = high / (1 - low + high)
        return np.log(np.maximum(proba, 1e-9)) - np.log(np.maximum(1 - proba, 1e-9)) + 1e-9 * found

    return score


def fit_conformal(rows: Rows) -> Score:
    """Conformal confidence and credibility (Vovk, Gammerman & Shafer, 2005), on a log scale.

    Confidence is one minus the p-value of the best other label, credibility the p-value of the predicted one. Which
    ranks best is tuned: the p-value of the other label, or that over the credibility. The nonconformity of a label is
    the log-odds against it.
    """
    known = np.sort(_against(rows.val, rows.val.labels))

    def make(setting: str) -> Score:
        def score(split: Split) -> FloatArray:
            runner_up = np.argpartition(split.wide, -2, axis=1)[:, -2]
            other = _log_p_value(_against(split, runner_up), known)
            return other if setting == "confidence" else other - _log_p_value(_against(split, split.predicted), known)

        return score

    return best_of(rows, ("confidence", "confidence and credibility"), make, "conformal")


def venn_abers_bounds(
    values: FloatArray, rates: FloatArray, counts: FloatArray, queries: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """``p0`` and ``p1`` ``(N,)`` of each query: isotonic fits of the known rows with the query added as 0 and as 1.

    ``values`` ascending and distinct, ``rates`` their share of errors, ``counts`` their rows. At a query between two
    known values the fit is the largest, over starts, of the smallest, over ends, mean of a stretch around it.
    """
    wrong, mass = np.r_[0, np.cumsum(rates * counts)], np.r_[0, np.cumsum(counts)]
    left = np.searchsorted(values, queries, side="left")
    right = np.searchsorted(values, queries, side="right")
    places, inverse = np.unique(np.stack([left, right], axis=1), axis=0, return_inverse=True)
    bounds = np.array([[_fit_at(wrong, mass, start, stop, label) for label in (0, 1)] for start, stop in places])
    chosen = bounds[inverse.ravel()]
    return chosen[:, 0], chosen[:, 1]


def _fit_at(wrong: FloatArray, mass: FloatArray, start: int, stop: int, label: int) -> float:
    """Isotonic value of an added row between the known values ``[:start]`` and ``[stop:]``, tied with those between."""
    first, last = np.arange(start + 1)[:, None], np.arange(stop, len(mass))[None]
    means = (wrong[last] - wrong[first] + label) / (mass[last] - mass[first] + 1)
    return float(means.min(axis=1).max())


def _equal_mass(score: FloatArray, errors: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct values with error rate and count; neighbours merged down to ``MOST_GROUPS`` groups of equal mass."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    if len(ordered) > MOST_GROUPS:
        bins = np.arange(len(ordered)) * MOST_GROUPS // len(ordered)
        ordered = (np.bincount(bins, weights=ordered) / np.bincount(bins))[bins]
    values, group, counts = np.unique(ordered, return_inverse=True, return_counts=True)
    return values, np.bincount(group, weights=errors[order]) / counts, counts.astype(np.float64)


def _log_p_value(strange: FloatArray, known: FloatArray) -> FloatArray:
    """Log of the share of known rows at least as strange, interpolated; beyond all of them it goes on falling."""
    levels = (len(known) - np.arange(len(known))) / (len(known) + 1)
    p_value = np.interp(strange, known, levels, left=1.0, right=1 / (len(known) + 1))
    return np.log(p_value) - np.log1p(np.maximum(strange - known[-1], 0))


def _against(split: Split, labels: IntArray) -> FloatArray:
    """``(N,)`` log-odds against a label under the softmax."""
    rows = np.arange(len(split))
    others = split.wide.copy()
    others[rows, labels] = -np.inf
    return logsumexp(others, axis=1) - split.wide[rows, labels]
