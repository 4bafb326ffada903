"""Exact binomial intervals (Clopper & Pearson 1934)."""

from __future__ import annotations

import math

__all__ = ["binomial_interval", "binomial_upper", "rows_for_promise"]


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


def rows_for_promise(risk: float, confidence: float = 0.95) -> int:
    """Fewest rows, all right, that bound an error rate by ``risk`` with this confidence."""
    return math.ceil(math.log(1.0 - confidence) / math.log1p(-risk)) if risk < 1.0 else 1
