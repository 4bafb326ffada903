"""The six zones: their limits, which zone a unit is in, and what each holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.analysis.certification import Certificate
from ml_debugger.analysis.intervals import binomial_interval
from ml_debugger.columns import ZONES

__all__ = ["ORDER", "ZoneLimits", "assign_zones", "fit_limits", "zone_rules", "zone_table"]

ORDER: Final = (
    "aleatoric_hotspot",
    "critical_hotspot",
    "recessive_hotspot",
    "hotspot",
    "stable_coverage",
    "operational_coverage",
)
"""The zones in the order in which their rules are tried; the first match wins."""

_NAMES = np.array(ORDER, dtype=object)

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ZoneLimits:
    """Every number of the zone rules, as stored with a result.

    Attributes:
        min_support: Units with less support are ``aleatoric_hotspot``.
        t_hi: Error probability from which on a unit is a hotspot.
        c_hi: Confidence from which on a hotspot is critical.
        c_lo: Confidence below which a hotspot is recessive.
        t_lo: Error probability below which a unit is ``stable_coverage``; 0 where nothing can be promised.
    """

    min_support: float
    t_hi: float
    c_hi: float
    c_lo: float
    t_lo: float

    def to_json(self) -> dict[str, float]:
        """The limits by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ZoneLimits:
        """The limits that :meth:`to_json` gave."""
        return cls(**{field.name: float(values[field.name]) for field in fields(cls)})


def fit_limits(
    error_proba: Float64,
    confidence: Float64,
    support: Float64,
    error_rate: float,
    chosen: Mapping[str, float | None],
) -> ZoneLimits:
    """Limits from N held-out rows, before anything is promised (``t_lo`` 0).

    Args:
        error_proba: ``(N,)`` out-of-fold.
        confidence: ``(N,)`` the model's own.
        support: ``(N,)``.
        error_rate: mu, of the held-out rows.
        chosen: ``outlier_share``, ``c_lo_percentile`` and ``c_hi_percentile``; and ``t_hi``, ``c_lo``, ``c_hi`` where
            the user
            set them, else None.
    """
    t_hi = chosen.get("t_hi")
    high = float(np.clip(2.0 * error_rate, 0.2, 0.5)) if t_hi is None else t_hi
    min_support = float(chosen["outlier_share"] or 0.0)
    risky = confidence[(error_proba >= high) & (support >= min_support)]
    c_lo = _percentile(risky, chosen, "c_lo")
    c_hi = _percentile(risky, chosen, "c_hi")
    return ZoneLimits(min_support=min_support, t_hi=high, c_hi=max(c_lo, c_hi), c_lo=c_lo, t_lo=0.0)


def _percentile(risky: Float64, chosen: Mapping[str, float | None], name: str) -> float:
    given = chosen.get(name)
    if given is not None:
        return given
    percentile = chosen[f"{name}_percentile"]
    return float(np.percentile(risky, percentile)) if len(risky) and percentile is not None else 0.5


def assign_zones(
    limits: ZoneLimits, error_proba: Float64, confidence: Float64, support: Float64
) -> NDArray[np.object_]:
    """``(U,)`` zone names, exactly one per unit; the first rule of ``ORDER`` that matches wins.

    A NaN in ``support`` or ``error_proba`` is an outlier: nothing is known about the unit.
    """
    is_known = (support >= limits.min_support) & ~np.isnan(error_proba)
    risky = np.where(confidence >= limits.c_hi, 1, np.where(confidence < limits.c_lo, 2, 3))
    calm = np.where(error_proba < limits.t_lo, 4, 5)
    position = np.where(is_known, np.where(error_proba >= limits.t_hi, risky, calm), 0)
    return np.asarray(_NAMES[position])


def zone_rules(limits: ZoneLimits) -> dict[str, str]:
    """The rule of each zone in words with its numbers, for legends; first match wins in ``ORDER``."""
    risky = f"error_proba >= {limits.t_hi:.4g}"
    return {
        "aleatoric_hotspot": f"support < {limits.min_support:.4g}",
        "critical_hotspot": f"{risky} and score >= {limits.c_hi:.4g}",
        "recessive_hotspot": f"{risky} and score < {limits.c_lo:.4g}",
        "hotspot": f"{risky}, the rest",
        "stable_coverage": f"error_proba < {limits.t_lo:.4g}"
        if limits.t_lo > 0
        else "no rows: nothing can be promised",
        "operational_coverage": "the rest",
    }


def zone_table(limits: ZoneLimits, zones: NDArray[np.object_], is_error: Bool, promise: Certificate | str) -> pa.Table:
    """One row per zone, all six: rule, count, share, error rate with its exact 95 % interval, and the promise.

    Args:
        limits: Of the result.
        zones: ``(N,)`` zone of each held-out row.
        is_error: ``(N,)``.
        promise: What ``stable_coverage`` promises, or a sentence why it promises nothing.
    """
    rules = zone_rules(limits)
    rows = []
    for name, zone in ZONES.items():
        inside = zones == name
        count, errors = int(inside.sum()), int(is_error[inside].sum())
        low, high = binomial_interval(errors, count)
        rows.append(
            {
                "zone": name,
                "category": zone.category,
                "rule": rules[name],
                "count": count,
                "share": count / len(zones) if len(zones) else 0.0,
                "error_rate": errors / count if count else None,
                "error_low": low if count else None,
                "error_high": high if count else None,
                "promise": _sentence(promise) if name == "stable_coverage" else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _sentence(promise: Certificate | str) -> str:
    return promise.sentence if isinstance(promise, Certificate) else promise


_SCHEMA = pa.schema(
    [
        pa.field("zone", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("error_rate", pa.float64()),
        pa.field("error_low", pa.float64()),
        pa.field("error_high", pa.float64()),
        pa.field("promise", pa.string()),
    ]
)
