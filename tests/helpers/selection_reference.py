"""Slow and plain: what a filter selects and what a query returns, row by row, without the package."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def holds(value: float | None, text: str) -> bool:
    text = text.strip()
    sign = text[:2] if text[1] == "=" else text[:1]
    limit = float(text[len(sign) :])
    if value is None or math.isnan(value):
        return False
    if sign in (">=", "<=", "=="):
        if value == limit:
            return True
        return {">=": value > limit, "<=": value < limit, "==": False}[sign]
    return {">": value > limit, "<": value < limit, "!=": value != limit}[sign]


def is_selected(row: Row, zones: Sequence[str], conditions: Sequence[Mapping[str, str]]) -> bool:
    if math.isnan(row["error_proba"]):
        return False
    if row["zone"] in zones:
        return True
    return any(all(holds(row[column], text) for column, text in group.items()) for group in conditions)


def newest(rows: Iterable[Row]) -> list[Row]:
    """The newest recording of each input."""
    winner: dict[str, Row] = {}
    for row in rows:
        best = winner.get(row["input_id"])
        if best is None or (row["recorded_at"], row["recording_id"]) > (best["recorded_at"], best["recording_id"]):
            winner[row["input_id"]] = row
    return list(winner.values())


def query(
    rows: Iterable[Row],
    n: int,
    *,
    zones: Sequence[str] = (),
    conditions: Sequence[Mapping[str, str]] = (),
    descending: bool = True,
    exclude: Iterable[str] = (),
) -> list[str]:
    """Ids of the current rows that are selected (all, without zones and conditions), in order."""
    barred = set(exclude)
    everything = not zones and not conditions
    kept = []
    for row in newest(rows):
        if row["input_id"] in barred or math.isnan(row["error_proba"]):
            continue
        if everything or is_selected(row, zones, conditions):
            kept.append(row)
    kept.sort(key=lambda row: row["input_id"])
    kept.sort(key=lambda row: row["error_proba"], reverse=descending)
    return [row["input_id"] for row in kept[:n]]
