"""Turned boxes cut with each other in plain loops, corner by corner: what the fast ones must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Box = Sequence[float]


def is_solid(box: Box) -> bool:
    return all(map(math.isfinite, box)) and min(box[3:6]) > 0


def corners(box: Box) -> list[Point]:
    x, y, _, dx, dy, _, yaw = box
    cos, sin = math.cos(yaw), math.sin(yaw)
    local = [(dx / 2, dy / 2), (-dx / 2, dy / 2), (-dx / 2, -dy / 2), (dx / 2, -dy / 2)]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in local]


def polygon_area(polygon: list[Point]) -> float:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def cut(polygon: list[Point], start: Point, end: Point) -> list[Point]:
    """What lies to the left of a line (Sutherland and Hodgman)."""

    def side(p: Point) -> float:
        return (end[0] - start[0]) * (p[1] - start[1]) - (end[1] - start[1]) * (p[0] - start[0])

    kept: list[Point] = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        at_p, at_q = side(p), side(q)
        if at_p >= 0:
            kept.append(p)
        if (at_p > 0 > at_q) or (at_p < 0 < at_q):
            t = at_p / (at_p - at_q)
            kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return kept


def shared_area(a: Box, b: Box) -> float:
    if not is_solid(a) or not is_solid(b):
        return 0.0
    moved = [b[0] - a[0], b[1] - a[1], *b[2:]]
    polygon = corners([0.0, 0.0, *a[2:]])
    edges = corners(moved)
    for start, end in zip(edges, edges[1:] + edges[:1], strict=True):
        polygon = cut(polygon, start, end) if polygon else []
    return max(polygon_area(polygon), 0.0) if polygon else 0.0


def shared_height(a: Box, b: Box) -> float:
    return max(min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2), 0.0)


def bev_iou(a: Box, b: Box) -> float:
    both = shared_area(a, b)
    return both / (a[3] * a[4] + b[3] * b[4] - both) if both else 0.0


def iou_3d(a: Box, b: Box) -> float:
    both = shared_area(a, b)
    both = both * shared_height(a, b) if both else 0.0
    return both / (math.prod(a[3:6]) + math.prod(b[3:6]) - both) if both else 0.0


def holds(box: Box, point: Sequence[float]) -> bool:
    if not is_solid(box):
        return False
    x, y, z = (p - c for p, c in zip(point[:3], box[:3], strict=True))
    cos, sin = math.cos(box[6]), math.sin(box[6])
    along, across = abs(x * cos + y * sin), abs(y * cos - x * sin)
    return along <= box[3] / 2 and across <= box[4] / 2 and abs(z) <= box[5] / 2
