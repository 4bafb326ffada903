"""What the zones hold on rows that were not fitted on, and whether ``stable_coverage`` keeps its promise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.error_detection.product import Evaluated
from ml_debugger.columns import HOTSPOTS, ZONES

__all__ = ["is_ordered", "lower_bound", "promise_row", "zone_rows"]

IntArray = NDArray[np.integer]
ZoneArray = NDArray[np.object_]

STABLE, OPERATIONAL = "stable_coverage", "operational_coverage"


def zone_rows(zone: ZoneArray, errors: IntArray) -> list[dict[str, Any]]:
    """Share and error rate of each zone; NaN where it is empty."""
    found = []
    for name in ZONES:
        inside = zone == name
        rate = float(errors[inside].mean()) if inside.any() else float("nan")
        found.append({"zone": name, "count": int(inside.sum()), "share": float(inside.mean()), "zone_error": rate})
    return found


def promise_row(evaluated: Evaluated, zone: ZoneArray, errors: IntArray) -> dict[str, Any]:
    """Whether the error rate of the stable rows stays under the promised one, and the order of the zones.

    ``kept`` compares the observed rate. ``broken`` is set only where even the 95 % lower bound on the rate is above the
    promise: where the rows cannot be an unlucky draw.
    """
    stable = zone == STABLE
    n, wrong = int(stable.sum()), int(errors[stable].sum())
    risk = evaluated.promised_risk
    return {
        "promised": risk if risk is not None else float("nan"),
        "stable_rows": n,
        "stable_share": n / max(len(zone), 1),
        "stable_error": wrong / n if n else float("nan"),
        "kept": None if risk is None or not n else bool(wrong / n <= risk),
        "broken": None if risk is None or not n else bool(lower_bound(wrong, n) > risk),
        "ordered": is_ordered(zone, errors),
    }


def is_ordered(zone: ZoneArray, errors: IntArray) -> bool:
    """Whether error rates rise from stable over operational to all hotspots together; empty zones are passed over."""
    groups = (zone == STABLE, zone == OPERATIONAL, np.isin(zone, HOTSPOTS))
    rates = [errors[inside].mean() for inside in groups if inside.any()]
    return bool(np.all(np.diff(rates) >= 0))


def lower_bound(wrong: int, n: int, confidence: float = 0.95) -> float:
    """One-sided exact lower bound on a rate (Clopper & Pearson 1934)."""
    return float(beta.ppf(1 - confidence, wrong, n - wrong + 1)) if wrong else 0.0
