"""Published scores that read the logits (and, the geometric margin, the last layer)."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines.method import Rows, Score, best_of
from benchmarks.error_detection.traces import Split

__all__ = [
    "TEMPERATURES",
    "energy",
    "entropy",
    "fit_doctor",
    "fit_gen",
    "fit_geometric_margin",
    "fit_p_norm",
    "fit_rel_u",
    "fit_scaled_msp",
    "gini",
    "log_odds_wrong",
    "logit_margin",
    "margin",
    "max_logit",
    "msp",
]

FloatArray = NDArray[np.floating]

# Published grid of Cattelan & Silva: 0.01 to 1.99; thinned fourfold, and extended upwards for overconfident models.
TEMPERATURES = (0.01, *np.round(np.arange(0.05, 2, 0.05), 2).tolist(), 2.5, 3.0, 4.0)
P_NORMS = tuple(range(1, 9))
REL_U_TEMPERATURES = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)
REL_U_LAMBDAS = (0.2, 0.5, 0.8)
TINY = 1e-300


def log_odds_wrong(logits: FloatArray) -> FloatArray:
    """``log((1 - p) / p)`` of the softmax maximum p, ``(N,)``, exact where p rounds to 1."""
    rows = np.arange(len(logits))
    top = logits.argmax(axis=1)
    others = logits.copy()
    others[rows, top] = -np.inf
    return logsumexp(others, axis=1) - logits[rows, top]


def msp(split: Split) -> FloatArray:
    """Maximum softmax probability, as log-odds (Hendrycks & Gimpel, ICLR 2017)."""
    return log_odds_wrong(split.wide)


def fit_scaled_msp(rows: Rows) -> Score:
    """MSP at the temperature with the lowest AURC on val (Guo et al., ICML 2017; Cattelan & Silva, UAI 2024)."""
    return best_of(rows, TEMPERATURES, lambda t: lambda split: log_odds_wrong(split.wide / t), "msp_ts")


def margin(split: Split) -> FloatArray:
    """Difference of the two largest probabilities m (Scheffer et al., IDA 2001), as ``log((1 - m) / m)``."""
    first, second = _top_two(split.wide)
    total = logsumexp(split.wide, axis=1)
    # 1 - m = (1 - p1) + p2, both small where it matters.
    gap = np.exp(msp(split) + first - total) + np.exp(second - total)
    return np.log(gap) - np.log(np.maximum(np.exp(first - total) - np.exp(second - total), TINY))


def logit_margin(split: Split) -> FloatArray:
    """Minus the difference of the two largest logits (Streeter 2018; LogitsMargin of Cattelan & Silva)."""
    first, second = _top_two(split.wide)
    return second - first


def fit_geometric_margin(rows: Rows) -> Score:
    """Minus the distance in feature space to the nearest decision boundary (Liang et al., TMLR 2024)."""
    weight = rows.geometry.weight
    between = np.linalg.norm(weight[:, None] - weight[None], axis=2)
    np.fill_diagonal(between, np.inf)

    def score(split: Split) -> FloatArray:
        gaps = split.wide.max(axis=1, keepdims=True) - split.wide
        return -(gaps / np.maximum(between[split.predicted], 1e-12) + _own_class(split)).min(axis=1)

    return score


def entropy(split: Split) -> FloatArray:
    """Entropy of the softmax over its maximum log C, as log-odds (Shannon; Settles 2009)."""
    log_p = _log_softmax(split.wide)
    value = -(np.exp(log_p) * log_p).sum(axis=1)
    top = np.log(split.wide.shape[1])
    return np.log(np.maximum(value, TINY)) - np.log(np.maximum(top - value, 1e-15))


def gini(split: Split) -> FloatArray:
    """Gini impurity g as ``log(g / (1 - g))``: the logarithm of DOCTOR's alpha score (Granese et al., NeurIPS 2021)."""
    return _log_gini_odds(split.wide)


def fit_doctor(rows: Rows) -> Score:
    """DOCTOR's alpha score at the best temperature (Granese et al., NeurIPS 2021; without input gradients)."""
    return best_of(rows, TEMPERATURES, lambda t: lambda split: _log_gini_odds(split.wide / t), "doctor")


def fit_gen(rows: Rows) -> Score:
    """Generalised entropy, sum over the top M of ``p^g (1-p)^g`` (Liu et al., CVPR 2023), g and M tuned."""
    n = rows.n_classes
    tops = sorted({min(n, 2), min(n, 5), min(n, 10), n})

    def make(setting: tuple[float, int]) -> Score:
        return lambda split: _generalised_entropy(split.wide, *setting)

    return best_of(rows, list(itertools.product((0.1, 0.01, 0.05, 0.2, 0.5, 1.0), tops)), make, "gen")


def energy(split: Split) -> FloatArray:
    """Free energy, minus logsumexp of the logits (Liu et al., NeurIPS 2020)."""
    return -logsumexp(split.wide, axis=1)


def max_logit(split: Split) -> FloatArray:
    """Minus the largest logit (Hendrycks et al., ICML 2022)."""
    return -split.wide.max(axis=1)


def fit_p_norm(rows: Rows) -> Score:
    """MaxLogit-pNorm, p tuned; falls back to MSP where that has the lower AURC on val (Cattelan & Silva, UAI 2024).

    Always the fallback for two classes: the normalised maximum is the constant ``2^(-1/p)``.
    """
    if rows.n_classes == 2:
        rows.notes["p_norm"] = "fallback"
        return msp
    score = best_of(rows, P_NORMS, lambda p: lambda split: -normalised_max(split.wide, p), "p_norm")
    if metrics.aurc(score(rows.val), rows.val.errors) > metrics.aurc(msp(rows.val), rows.val.errors):
        rows.notes["p_norm"] = "fallback"
        return msp
    return score


def normalised_max(logits: FloatArray, p: float) -> FloatArray:
    """``max z / ||z||_p`` of the centred logits z, ``(N,)``."""
    centred = logits - logits.mean(axis=1, keepdims=True)
    largest = np.maximum(centred.max(axis=1), TINY)
    return 1 / ((np.abs(centred) / largest[:, None]) ** p).sum(axis=1) ** (1 / p)


def fit_rel_u(rows: Rows) -> Score:
    """Relative uncertainty: ``p' D p`` with D in closed form from right and wrong rows (Dadalto et al., 2023).

    Temperature and lambda are tuned on one half of the val rows with D from the other, then D is taken from all.
    """
    if "rel_u" not in rows.notes:
        _tune_rel_u(rows)
    temperature, weight = (float(value) for value in rows.notes["rel_u"].split(", "))
    matrix = rel_u_matrix(rows.val, temperature, weight)
    return lambda split: _quadratic(split, temperature, matrix)


def _tune_rel_u(rows: Rows) -> None:
    order = np.random.default_rng(rows.seed).permutation(len(rows.val))
    fitting, judging = rows.val.take(order[::2]), rows.val.take(order[1::2])
    settings = list(itertools.product(REL_U_TEMPERATURES, REL_U_LAMBDAS))
    risks = [metrics.aurc(_quadratic(judging, t, rel_u_matrix(fitting, t, w)), judging.errors) for t, w in settings]
    rows.notes["rel_u"] = "{}, {}".format(*settings[int(np.argmin(risks))])


def rel_u_matrix(split: Split, temperature: float, weight: float) -> FloatArray:
    """``(C, C)``: ``relu(weight E[p p' | wrong] - (1 - weight) E[p p' | right])`` off the diagonal, of unit norm.

    All ones off the diagonal (Gini) where nothing is positive.
    """
    p = softmax(split.wide / temperature, axis=1)
    right, wrong = p[split.errors == 0], p[split.errors == 1]
    moment = weight * wrong.T @ wrong / max(len(wrong), 1) - (1 - weight) * right.T @ right / max(len(right), 1)
    matrix = np.maximum(moment, 0)
    np.fill_diagonal(matrix, 0)
    if not matrix.any():
        matrix = 1 - np.eye(len(matrix))
    return matrix / np.linalg.norm(matrix)


def _quadratic(split: Split, temperature: float, matrix: FloatArray) -> FloatArray:
    p = softmax(split.wide / temperature, axis=1)
    # On a log scale: the score falls to 1e-20 on confident rows, and Platt wants something like log-odds.
    return np.log(np.maximum(np.einsum("nc,nc->n", p @ matrix, p), TINY))


def _top_two(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    top = np.partition(logits, -2, axis=1)
    return top[:, -1], top[:, -2]


def _own_class(split: Split) -> FloatArray:
    """``(N, C)``: infinite at the predicted class, zero elsewhere, to leave that class out of a minimum."""
    blocked = np.zeros(split.logits.shape)
    blocked[np.arange(len(split)), split.predicted] = np.inf
    return blocked


def _log_softmax(logits: FloatArray) -> FloatArray:
    return logits - logsumexp(logits, axis=1, keepdims=True)


def _log_gini_odds(logits: FloatArray) -> FloatArray:
    p = softmax(logits, axis=1)
    # 1 - sum p^2 = sum p (1 - p), with 1 - p of the top class taken from the others.
    rows = np.arange(len(p))
    complement = 1 - p
    top = logits.argmax(axis=1)
    others = p.copy()
    others[rows, top] = 0
    complement[rows, top] = others.sum(axis=1)
    impurity = (p * complement).sum(axis=1)
    return np.log(np.maximum(impurity, TINY)) - np.log((p**2).sum(axis=1))


def _generalised_entropy(logits: FloatArray, gamma: float, top: int) -> FloatArray:
    log_p = -np.partition(-_log_softmax(logits), top - 1, axis=1)[:, :top]
    with np.errstate(divide="ignore"):
        log_complement = np.log(-np.expm1(np.minimum(log_p, -1e-17)))
    return np.exp(gamma * (log_p + log_complement)).sum(axis=1)
