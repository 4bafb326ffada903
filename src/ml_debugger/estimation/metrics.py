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


class _Sample:
    """Rows in ascending order of their score, so that a bootstrap draw needs no sorting."""

    def __init__(self, score: NDArray[Any], wrong: NDArray[Any]) -> None:
        self.order = np.argsort(score, kind="stable")
        self.score = np.asarray(score, dtype=np.float64)[self.order]
        self.wrong = np.asarray(wrong, dtype=np.float64)[self.order]

    def repeated(self, times: NDArray[np.int64]) -> _Sample:
        """A sample with each row as often as ``times`` says, given in the original order of the rows."""
        rows = np.repeat(np.arange(len(self.order)), times[self.order])
        drawn = object.__new__(_Sample)
        drawn.order, drawn.score, drawn.wrong = rows, self.score[rows], self.wrong[rows]
        return drawn

    def ties(self) -> tuple[Float64, Float64]:
        """Rows and errors of each distinct score."""
        starts = np.flatnonzero(np.concatenate([[True], self.score[1:] != self.score[:-1]]))
        counts = np.diff(np.append(starts, len(self.score))).astype(np.float64)
        return counts, np.add.reduceat(self.wrong, starts)


def _auroc(sample: _Sample) -> float:
    counts, errors = sample.ties()
    right = counts - errors
    pairs = errors.sum() * right.sum()
    below = np.cumsum(right) - right
    return float((errors * (below + 0.5 * right)).sum() / pairs) if pairs else float("nan")


def _area(sample: _Sample) -> float:
    counts, errors = sample.ties()
    risk = np.repeat(errors / counts, counts.astype(np.int64))
    return _mean_running_rate(risk)


def _mean_running_rate(risk: Float64) -> float:
    return float((np.cumsum(risk) / np.arange(1, len(risk) + 1)).mean())


def _excess_area(sample: _Sample) -> float:
    return _area(sample) - _mean_running_rate(np.sort(sample.wrong))


def _brier(sample: _Sample) -> float:
    return float(((sample.score - sample.wrong) ** 2).mean())


def _ece(sample: _Sample) -> float:
    size = len(sample.score)
    starts = np.unique(np.linspace(0, size, min(N_BINS, size) + 1).astype(np.int64)[:-1])
    return float(np.abs(np.add.reduceat(sample.score - sample.wrong, starts)).sum() / size)


def _nll(sample: _Sample) -> float:
    return float(log_loss(sample.score, sample.wrong).mean())


METRICS: Final[dict[str, Callable[[_Sample], float]]] = {
    "auroc": _auroc,
    "e_aurc": _excess_area,
    "brier": _brier,
    "ece": _ece,
    "nll": _nll,
}


def auroc(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Probability that an error scores above a right answer, ties counting half; NaN where one kind is missing."""
    return _auroc(_Sample(probability, wrong))


def risk_coverage_area(score: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Area under the risk-coverage curve (AURC, Geifman et al. 2019); rows that tie share their mean risk."""
    return _area(_Sample(score, wrong))


def excess_area(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """E-AURC: the area beyond that of a perfect ranking."""
    return _excess_area(_Sample(probability, wrong))


def brier(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Mean squared difference between probability and outcome."""
    return _brier(_Sample(probability, wrong))


def nll(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Mean negative log-likelihood."""
    return _nll(_Sample(probability, wrong))


def ece(probability: NDArray[Any], wrong: NDArray[Any]) -> float:
    """Expected calibration error over 15 bins of equal mass."""
    return _ece(_Sample(probability, wrong))


def measure(
    probability: NDArray[Any], wrong: NDArray[Any], groups: NDArray[Any], *, draws: int = 200, seed: int = 0
) -> dict[str, float]:
    """Every metric with its 95 % bootstrap interval: ``{name, name_low, name_high}``; NaN where it is undefined.

    Args:
        probability: ``(N,)`` out-of-fold error probabilities; N >= 1.
        wrong: ``(N,)`` 0/1.
        groups: ``(N,)`` inputs; whole groups are drawn, since boxes of one image are not independent.
        draws: Bootstrap draws.
        seed: Of the draws; the same seed gives the same intervals.
    """
    sample = _Sample(probability, wrong)
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(draws):
        times = np.bincount(random.integers(0, n_groups, n_groups), minlength=n_groups)
        resampled = sample.repeated(times[member])
        for name, metric in METRICS.items():
            drawn[name].append(metric(resampled))
    result: dict[str, float] = {}
    for name, metric in METRICS.items():
        values = np.array(drawn[name])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
        result |= {name: metric(sample), f"{name}_low": float(low), f"{name}_high": float(high)}
    return result
