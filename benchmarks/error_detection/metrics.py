"""Figures of merit of an error score. Scores are oriented: larger = more likely wrong; errors are 0/1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["METRICS", "aurc", "auroc", "bias", "brier", "e_aurc", "ece", "ece_null", "fpr_at_95", "measure", "nll"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

METRICS = ("auroc", "e_aurc", "fpr95", "brier", "nll", "ece", "ece_null95", "bias")
N_BINS = 15


def auroc(score: FloatArray, errors: IntArray) -> float:
    """Area under the ROC curve with errors as positives; ties count half. NaN when only one kind is there."""
    n_errors = int(errors.sum())
    n_right = len(errors) - n_errors
    if not n_errors or not n_right:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[errors == 1].sum() - n_errors * (n_errors + 1) / 2) / (n_errors * n_right))


def aurc(score: FloatArray, errors: IntArray) -> float:
    """Mean error rate of the rows kept, over all coverages (Geifman & El-Yaniv 2017); ties share their errors."""
    order = np.argsort(score, kind="stable")
    _, group, size = np.unique(score[order], return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=errors[order]) / size
    return float((np.cumsum(shared[group]) / np.arange(1, len(errors) + 1)).mean())


def e_aurc(score: FloatArray, errors: IntArray) -> float:
    """AURC above that of a perfect ranking (Geifman et al. 2019)."""
    return aurc(score, errors) - aurc(errors.astype(np.float64), errors)


def fpr_at_95(score: FloatArray, errors: IntArray) -> float:
    """Share of right rows flagged at the threshold that catches 95 % of the errors."""
    if not errors.any() or errors.all():
        return float("nan")
    threshold = np.quantile(score[errors == 1], 0.05, method="lower")
    return float((score[errors == 0] >= threshold).mean())


def brier(proba: FloatArray, errors: IntArray) -> float:
    """Mean squared difference of probability and outcome."""
    return float(((proba - errors) ** 2).mean())


def nll(proba: FloatArray, errors: IntArray) -> float:
    """Mean negative log-likelihood; probabilities are kept 1e-6 away from 0 and 1."""
    kept = np.clip(proba, 1e-6, 1 - 1e-6)
    return float(-np.where(errors == 1, np.log(kept), np.log1p(-kept)).mean())


def bias(proba: FloatArray, errors: IntArray) -> float:
    """Mean probability minus error rate."""
    return float(proba.mean() - errors.mean())


def ece(proba: FloatArray, errors: IntArray, n_bins: int = N_BINS) -> float:
    """Expected calibration error over bins of equal mass; equal probabilities are never split between bins."""
    return float(_ece_rows(proba, errors[None, :].astype(np.float64), n_bins)[0])


def ece_null(proba: FloatArray, seed: int = 0, draws: int = 200, n_bins: int = N_BINS) -> float:
    """95th percentile of the ECE that labels drawn from these very probabilities show: the floor of noise."""
    labels = np.random.default_rng(seed).random((draws, len(proba))) < proba
    return float(np.quantile(_ece_rows(proba, labels.astype(np.float64), n_bins), 0.95))


def measure(score: FloatArray, proba: FloatArray, errors: IntArray, *, null: bool = True) -> dict[str, float]:
    """Every figure of ``METRICS``. The score ranks; the probability is judged for calibration.

    Without ``null`` the slow ``ece_null95`` is left NaN.
    """
    return {
        "auroc": auroc(score, errors),
        "e_aurc": e_aurc(score, errors),
        "fpr95": fpr_at_95(score, errors),
        "brier": brier(proba, errors),
        "nll": nll(proba, errors),
        "ece": ece(proba, errors),
        "ece_null95": ece_null(proba) if null else float("nan"),
        "bias": bias(proba, errors),
    }


def _ece_rows(proba: FloatArray, labels: FloatArray, n_bins: int) -> FloatArray:
    """ECE of each of R label vectors ``(R, N)`` against the same probabilities ``(N,)``."""
    edges = np.unique(np.quantile(proba, np.linspace(0, 1, n_bins + 1)))[1:-1]
    bins = np.searchsorted(edges, proba, side="right")
    order = np.argsort(bins, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(bins[order])) + 1]
    gaps = np.add.reduceat((labels - proba)[:, order], starts, axis=1)
    return np.abs(gaps).sum(axis=1) / len(proba)
