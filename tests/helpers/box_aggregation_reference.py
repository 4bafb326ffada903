"""Slow and plain: the value of each image from its boxes, without the package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tests.helpers.selection_reference import holds


def image_values(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[int, float]:
    """Per recording that has a box that counts, its value."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        if counts(row, config):
            found.setdefault(row["recording_id"], []).append(row)
    return {name: value_of(boxes, config) for name, boxes in found.items()}


def counts(row: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    target = row[config.get("target_column", "error_proba")]
    if target is None or math.isnan(target):
        return False
    wanted = config.get("bbox_filter")
    if wanted:
        in_zone = row["zone"] in wanted.get("target_zones", ())
        met = any(all(holds(row[name], text) for name, text in group.items()) for group in wanted.get("conditions", ()))
        if not (in_zone or met):
            return False
    if config.get("weight_column"):
        weight = row[config["weight_column"]]
        return weight is not None and not math.isnan(weight) and weight > 0
    return True


def value_of(boxes: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> float:
    target = config.get("target_column", "error_proba")
    ranked = sorted(boxes, key=lambda row: (-row[target], row["unit"]))[: config.get("top_n")]
    values = [row[target] for row in ranked]
    weights = [row[config["weight_column"]] if config.get("weight_column") else 1.0 for row in ranked]
    if config.get("aggregation", "mean") == "mean":
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    half, reached, at_least, more = sum(weights) / 2, 0.0, None, None
    for value, weight in zip(values, weights, strict=True):
        reached += weight
        at_least = value if at_least is None and reached >= half else at_least
        more = value if more is None and reached > half else more
    return (at_least + more) / 2
