"""Exact binomial intervals (Clopper & Pearson 1934)."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["binomial_interval", "binomial_upper", "mean_upper", "rows_for_promise"]

BISECTIONS: Final = 40


def binomial_upper(events: int, rows: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate of which ``events`` were seen among ``rows``; 1 where there are no rows."""
    from scipy.special import betaincinv

    if rows == 0 or events >= rows:
        return 1.0
    return float(betaincinv(events + 1, rows - events, confidence))


def binomial_interval(events: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a rate; (0, 1) where there are no rows."""
    side = 1.0 - (1.0 - confidence) / 2.0
    return 1.0 - binomial_upper(rows - events, rows, side), binomial_upper(events, rows, side)


def mean_upper(mean: float, n: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of the mean of values in 0..1 of which ``n`` were drawn with this mean; 1 for n = 0.

    Hoeffding and Bentkus (2004), whichever is tighter, as in Learn-then-Test; for values that are 0 or 1 the exact
    binomial bound is a little tighter.
    """
    from scipy.stats import binom

    def chance(rate: float) -> float:
        """How likely a mean this low is at most, if the true one is ``rate``."""
        near = min(mean, rate)
        entropy = sum(p * math.log(p / q) for p, q in ((near, rate), (1.0 - near, 1.0 - rate)) if p > 0.0)
        return min(math.exp(-n * entropy), math.e * float(binom.cdf(math.ceil(n * mean), n, rate)))

    if n == 0 or mean >= 1.0:
        return 1.0
    low, high = mean, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if chance(middle) > 1.0 - confidence else (low, middle)
    return high


def rows_for_promise(risk: float, confidence: float = 0.95) -> int:
    """Fewest rows, all right, that bound an error rate by ``risk`` with this confidence."""
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-risk)) if risk < 1.0 else 1
