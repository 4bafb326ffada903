"""Tables for people: the numbers of a result in words, for terminals, notebooks and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ml_debugger.columns import ZONES, Words, words_of

__all__ = [
    "LIMITS",
    "METRICS",
    "PARTS",
    "MetricRow",
    "PartRow",
    "ZoneRow",
    "limit_meaning",
    "metric_rows",
    "moment",
    "part_rows",
    "percent",
    "text_table",
    "zone_rows",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a result: its title, what it says, and whether it is a share."""

    title: str
    meaning: str
    share: bool = False
    higher_is_better: bool = False


METRICS: Final = {
    "accuracy": Metric("Accuracy", "share of {units} where the model is right", share=True, higher_is_better=True),
    "map": Metric(
        "mAP",
        "mean average precision of the recorded boxes over overlaps .50 to .95, as COCO measures it",
        higher_is_better=True,
    ),
    "map_3d": Metric("mAP 3D", "the same by the overlap of volumes", higher_is_better=True),
    "map_distance": Metric(
        "mAP distance",
        "the same by the distance of the centres, mean of .5, 1, 2 and 4 m, as nuScenes measures it",
        higher_is_better=True,
    ),
    "map50": Metric("mAP 50", "mean average precision of the recorded boxes at overlap .50", higher_is_better=True),
    "error_rate": Metric("Error rate", "share of {units} where the model is wrong", share=True),
    "auroc": Metric(
        "AUROC", "how often a wrong {unit} gets a higher error probability than a right one; .5 = chance", False, True
    ),
    "e_aurc": Metric("E-AURC", "errors kept in excess of a perfect ordering, averaged over all cut-offs; 0 = perfect"),
    "brier": Metric("Brier score", "mean squared distance between error probability and outcome; 0 = perfect"),
    "ece": Metric("ECE", "mean distance between predicted and observed error rate over equal-mass bins; 0 = honest"),
    "nll": Metric("Log loss", "mean negative log likelihood of the outcomes; 0 = perfect"),
}

_MAP_IN_3D: Final = Metric(
    "mAP",
    "mean average precision of the recorded boxes, right from the overlap on that the evaluation asks for, seen from "
    "above unless its options say otherwise",
    higher_is_better=True,
)

PARTS: Final = {
    "det_error_proba": "the {unit} is in the wrong place",
    "cls_error_proba": "its class is wrong, given the right place",
    "missed_proba": "there is an object that no {unit} was predicted for",
}
"""What probabilities besides ``error_proba`` are about."""

LIMITS: Final = {
    "min_support": "support below which a {unit} is an aleatoric_hotspot: so few held-out {units} lie as far out",
    "t_lo": "error probability below which a {unit} is stable_coverage; 0 where nothing can be promised",
    "t_hi": "error probability from which on a {unit} is a hotspot",
    "c_lo": "confidence below which a hotspot is a recessive_hotspot",
    "c_hi": "confidence from which on a hotspot is a critical_hotspot",
}

_UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric as text: ours with its interval, and the baseline's."""

    title: str
    meaning: str
    ours: str
    interval: str
    baseline: str
    baseline_interval: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """One probability besides ``error_proba`` as text: what it is about, how often it happens, how well it is told."""

    name: str
    meaning: str
    rate: str
    auroc: str
    interval: str
    baseline: str
    brier: str
    baseline_brier: str
    ece: str
    nll: str


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """One zone as text."""

    zone: str
    category: str
    meaning: str
    rule: str
    count: str
    share: str
    error_rate: str
    interval: str
    promise: str


def percent(value: Any, digits: int = 1) -> str:
    """A share as text, ``-`` where there is none."""
    return _UNKNOWN if _missing(value) else f"{100 * float(value):.{digits}f}%"


def moment(value: Any) -> str:
    """A time (ISO text or datetime, UTC) as text to the minute, ``-`` where there is none."""
    if value is None:
        return _UNKNOWN
    time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return time.strftime("%Y-%m-%d %H:%M UTC")


def limit_meaning(name: str, words: Words | None = None) -> str:
    """What a limit of the zones does; empty for an unknown one."""
    return _said(LIMITS.get(name, ""), words)


def _said(text: str, words: Words | None) -> str:
    known = words or words_of(None)
    return text.format(unit=known.unit, units=known.units)


def metric_rows(metrics: Mapping[str, Any], words: Words | None = None) -> list[MetricRow]:
    """The metrics of a result as text, in a fixed order; those that the result lacks are left out."""
    baseline = metrics.get("baseline") or {}
    measures = METRICS | {"map": _MAP_IN_3D} if "map_3d" in metrics else METRICS
    return [
        MetricRow(
            metric.title,
            _said(metric.meaning, words),
            _number(metrics[name], metric.share),
            _interval(metrics, name, metric.share),
            _number(baseline.get(name), metric.share),
            _interval(baseline, name, metric.share),
        )
        for name, metric in measures.items()
        if name in metrics
    ]


def part_rows(metrics: Mapping[str, Any], words: Words | None = None) -> list[PartRow]:
    """The further probabilities of a result, such as those of the parts of a detection; none in classification."""
    return [
        PartRow(
            name,
            _said(meaning, words),
            percent(metrics[name].get("error_rate")),
            _number(metrics[name].get("auroc"), share=False),
            _interval(metrics[name], "auroc", share=False),
            _number(metrics[name]["baseline"].get("auroc"), share=False),
            _number(metrics[name].get("brier"), share=False),
            _number(metrics[name]["baseline"].get("brier"), share=False),
            _number(metrics[name].get("ece"), share=False),
            _number(metrics[name].get("nll"), share=False),
        )
        for name, meaning in PARTS.items()
        if name in metrics
    ]


def zone_rows(zones: Iterable[Mapping[Any, Any]]) -> list[ZoneRow]:
    """The zones of a result as text, all six in their usual order."""
    known = {row["zone"]: row for row in zones}
    return [_zone_row(name, known.get(name, {})) for name in ZONES]


def text_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A table with aligned columns; ``right`` are the positions of columns that align to the right."""
    table = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    to_right = frozenset(right)
    table.insert(1, ["-" * width for width in widths])
    lines = (
        "  ".join(
            cell.rjust(width) if column in to_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def _zone_row(name: str, row: Mapping[str, Any]) -> ZoneRow:
    zone, low, high = ZONES[name], row.get("error_low"), row.get("error_high")
    promise = row.get("promise")
    count = row.get("count") or 0
    return ZoneRow(
        zone=name,
        category=zone.category,
        meaning=zone.description,
        rule=str(row.get("rule") or ""),
        count=f"{int(count):,}",
        share=percent(row.get("share")),
        error_rate=percent(row.get("error_rate")) if count else _UNKNOWN,
        interval=_UNKNOWN if not count or _missing(low) else f"{percent(low)} to {percent(high)}",
        promise="" if _missing(promise) else str(promise),
    )


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any, share: bool) -> str:
    if _missing(value):
        return _UNKNOWN
    return percent(value) if share else f"{float(value):.3f}"


def _interval(metrics: Mapping[str, Any], name: str, share: bool) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    if _missing(low) or _missing(high):
        return ""
    return f"{_number(low, share)} to {_number(high, share)}"
