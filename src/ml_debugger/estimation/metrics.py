"""How well a score finds errors and how honest its probabilities are, with bootstrap intervals over groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.numbers import log_loss

__all__ = ["METRICS", "auroc", "brier", "ece", "excess_area", "measure", "nll", "risk_coverage_area"]

Float64 = NDArray[np.float64]
N_BINS = 15


def auroc(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Probability that an error has a higher score than a right answer, ties counting half; NaN where one kind is missing."""
    values, inverse, counts = np.unique(probability, return_inverse=True, return_counts=True)
    errors = np.bincount(inverse, wrong, len(values))
    n_errors = errors.sum()
    n_right = len(wrong) - n_errors
    if n_errors == 0 or n_right == 0:
        return float("nan")
    right = counts - errors
    below = np.cumsum(right) - right
    return float((errors * (below + 0.5 * right)).sum() / (n_errors * n_right))


def risk_coverage_area(score: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Area under the risk-coverage curve (AURC, Geifman et al. 2019); rows that tie share their mean risk."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rate = np.bincount(inverse, wrong) / counts
    ordered = np.repeat(rate, counts)
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def excess_area(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """E-AURC: the area beyond that of a perfect ranking."""
    return risk_coverage_area(probability, wrong) - risk_coverage_area(wrong, wrong)


def brier(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Mean squared difference between probability and outcome."""
    return float(((probability - wrong) ** 2).mean())


def nll(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Mean negative log-likelihood."""
    return float(log_loss(probability, wrong).mean())


def ece(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Expected calibration error over 15 bins of equal mass."""
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(N_BINS, len(order)))
    return float(sum(abs(probability[part].mean() - wrong[part].mean()) * len(part) for part in bins) / len(order))


METRICS: Final[dict[str, Callable[[NDArray[Any], NDArray[Any]], float]]] = {
    "auroc": auroc,
    "e_aurc": excess_area,
    "brier": brier,
    "ece": ece,
    "nll": nll,
}


def measure(
    probability: NDArray[Any], wrong: NDArray[Any], groups: NDArray[Any], *, draws: int = 200, seed: int = 0
) -> dict[str, float]:
    """Every metric with its 95 % bootstrap interval: ``{name, name_low, name_high}``; NaN where it is undefined.

    Args:
        probability: ``(N,)`` out-of-fold error probabilities.
        wrong: ``(N,)`` 0/1.
        groups: ``(N,)`` inputs; whole groups are drawn, since boxes of one image are not independent.
        draws: Bootstrap draws.
        seed: Of the draws; the same seed gives the same intervals.
    """
    outcome = np.asarray(wrong, dtype=np.float64)
    rows = _Resampler(groups, seed)
    samples: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(draws):
        chosen = rows.draw()
        for name, metric in METRICS.items():
            samples[name].append(metric(probability[chosen], outcome[chosen]))
    result = {}
    for name, metric in METRICS.items():
        drawn = np.array(samples[name])
        drawn = drawn[np.isfinite(drawn)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        result |= {name: metric(probability, outcome), f"{name}_low": float(low), f"{name}_high": float(high)}
    return result


class _Resampler:
    """Draws whole groups with replacement."""

    def __init__(self, groups: NDArray[Any], seed: int) -> None:
        _, member = np.unique(groups, return_inverse=True)
        self.order = np.argsort(member, kind="stable")
        self.counts = np.bincount(member)
        self.starts = np.cumsum(self.counts) - self.counts
        self.random = np.random.default_rng(seed)

    def draw(self) -> NDArray[np.int64]:
        """Rows of one bootstrap sample."""
        groups = self.random.integers(0, len(self.counts), len(self.counts))
        lengths = self.counts[groups]
        offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.asarray(self.order[np.repeat(self.starts[groups], lengths) + offsets])
