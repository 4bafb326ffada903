"""Upright boxes of a point cloud as arrays: corners, overlaps of turned boxes, and which of a frame share space.

A box is ``x y z dx dy dz yaw``: its centre and its sizes along its own axes in metres, z up; yaw in radians,
counter-clockwise about z from +x, turns ``dx`` away from +x. A box covers something if its seven numbers are finite and
its sizes above 0; any other has volume 0 and shares nothing, not even with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import MAX_PAIRS, pairs_of_images

__all__ = [
    "SharedSpace",
    "bev_areas",
    "bev_corners",
    "bev_iou",
    "box_corners",
    "box_volumes",
    "half_extents",
    "has_volume",
    "iou_3d",
    "iter_shared_space",
    "shared_areas",
]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_SIGN_X: Final = np.array([1.0, -1.0, -1.0, 1.0])
_SIGN_Y: Final = np.array([1.0, 1.0, -1.0, -1.0])
_ROUNDING: Final = 1e-12


def has_volume(boxes: NDArray[Any]) -> Bool:
    """``(U,)`` whether each of ``(U, 7)`` boxes covers something: finite, and no plane, line or point."""
    sizes = boxes[:, 3:6].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        volume = sizes.prod(axis=1)
        return np.asarray(np.isfinite(boxes).all(axis=1) & (sizes > 0).all(axis=1) & (volume > 0) & (volume < np.inf))


def box_volumes(boxes: NDArray[Any]) -> Float64:
    """``(U,)`` volumes of ``(U, 7)`` boxes in m^3; 0 for those that cover nothing."""
    return np.asarray(_known(boxes, 0.0)[:, 3:6].prod(axis=1))


def bev_areas(boxes: NDArray[Any]) -> Float64:
    """``(U,)`` areas of ``(U, 7)`` boxes seen from above, in m^2; 0 for those that cover nothing."""
    known = _known(boxes, 0.0)
    return np.asarray(known[:, 3] * known[:, 4])


def bev_corners(boxes: NDArray[Any]) -> Float64:
    """``(U, 4, 2)`` corners of ``(U, 7)`` boxes seen from above: counter-clockwise, front left first.

    >>> bev_corners(np.array([[0, 0, 0, 4, 2, 1, 0]]))[0]
    array([[ 2.,  1.],
           [-2.,  1.],
           [-2., -1.],
           [ 2., -1.]])
    """
    x, y, _, dx, dy, _, yaw = boxes.astype(np.float64).T
    return np.asarray(np.stack(_corners(x, y, dx, dy, yaw), axis=-1).transpose(1, 0, 2))


def box_corners(boxes: NDArray[Any]) -> Float64:
    """``(U, 8, 3)`` corners of ``(U, 7)`` boxes: the bottom as in :func:`bev_corners`, then the top likewise."""
    z, half = boxes[:, 2].astype(np.float64), boxes[:, 5] / 2.0
    corners = np.empty((len(boxes), 8, 3))
    corners[:, :4, :2] = corners[:, 4:, :2] = bev_corners(boxes)
    corners[:, :4, 2], corners[:, 4:, 2] = (z - half)[:, None], (z + half)[:, None]
    return corners


def bev_iou(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    """``(P,)`` intersection over union seen from above, of ``(P, 7)`` boxes with ``(P, 7)`` others, row by row.

    >>> bev_iou(np.array([[0, 0, 0, 2, 2, 1, 0]]), np.array([[1, 0, 9, 2, 2, 1, np.pi]])).round(6)
    array([0.333333])
    """
    shared = shared_areas(first, second)
    return _share(shared, bev_areas(first) + bev_areas(second) - shared)


def iou_3d(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    """``(P,)`` intersection over union of the volumes, of ``(P, 7)`` boxes with ``(P, 7)`` others, row by row."""
    shared = shared_areas(first, second) * _shared_heights(first, second)
    return _share(shared, box_volumes(first) + box_volumes(second) - shared)


def shared_areas(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    """``(P,)`` area in m^2 that ``(P, 7)`` boxes share with ``(P, 7)`` others seen from above, row by row.

    The same to the bit in either order. Less than about 1e-12 of the smaller box is rounding, and 0.
    """
    one, other = _known(first, np.nan), _known(second, np.nan)
    cuts = range(0, len(one), MAX_PAIRS)
    parts = [_clipped_areas(one[low : low + MAX_PAIRS], other[low : low + MAX_PAIRS]) for low in cuts]
    return np.concatenate([np.empty(0), *parts])


@dataclass(frozen=True, slots=True)
class SharedSpace:
    """P pairs of boxes of the same frame that share an area seen from above, or are near each other.

    Attributes:
        first: ``(P,)`` int64, position of one box among the first ones; ascending.
        second: ``(P,)`` int64, position of the other among the second ones; ascending within ``first``.
        area: ``(P,)`` shared area seen from above in m^2.
        height: ``(P,)`` shared height in m; 0 where one is above the other.
        distance: ``(P,)`` between the centres, on the ground, in m.
    """

    first: Int64
    second: Int64
    area: Float64
    height: Float64
    distance: Float64


def iter_shared_space(
    first_index: Int64,
    first: NDArray[Any],
    second_index: Int64,
    second: NDArray[Any],
    reach: Float64 | None = None,
) -> Iterator[SharedSpace]:
    """All pairs of boxes of the same frame that share an area or are near, in order, some first boxes at a time.

    Only boxes whose enclosing upright rectangles meet are cut with each other.

    Args:
        first_index: ``(U,)`` frame of each first box.
        first: ``(U, 7)``.
        second_index: ``(G,)`` frame of each second box.
        second: ``(G, 7)``.
        reach: ``(G,)`` distance in m within which a pair is near; without it none is.
    """
    one, other = _known(first, np.nan), _known(second, np.nan)
    half_x, half_y = half_extents(one)
    other_half_x, other_half_y = half_extents(other)
    near = np.zeros(len(other)) if reach is None else reach
    for rows, others in pairs_of_images(first_index, second_index):
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(one[rows, 0] - other[others, 0])
            beside = np.flatnonzero(apart < np.maximum(half_x[rows] + other_half_x[others], near[others]))
            rows, others, apart_x = rows[beside], others[beside], apart[beside]
            apart_y = np.abs(one[rows, 1] - other[others, 1])
            meets = (apart_x < half_x[rows] + other_half_x[others]) & (apart_y < half_y[rows] + other_half_y[others])
            distance = np.hypot(apart_x, apart_y)
        area = np.zeros(len(rows))
        area[meets] = _clipped_areas(one[rows[meets]], other[others[meets]])
        kept = (area > 0) | (distance < near[others])
        rows, others = rows[kept], others[kept]
        height = _shared_heights(one[rows], other[others])
        yield SharedSpace(rows, others, area[kept], height, distance[kept])


def _known(boxes: NDArray[Any], otherwise: float) -> Float64:
    """The boxes, another number in all columns of those that cover nothing."""
    return np.asarray(np.where(has_volume(boxes)[:, None], boxes, otherwise), dtype=np.float64)


def _share(shared: Float64, whole: Float64) -> Float64:
    return np.asarray(np.divide(shared, whole, out=np.zeros(len(shared)), where=shared > 0))


def half_extents(boxes: NDArray[Any]) -> tuple[Float64, Float64]:
    """``(U,)`` half the sides along x and y of the rectangle around each box, rounded up a little."""
    dx, dy, yaw = boxes[:, 3] / 2, boxes[:, 4] / 2, boxes[:, 6]
    cos, sin = np.abs(np.cos(yaw)), np.abs(np.sin(yaw))
    return (cos * dx + sin * dy) * (1 + _ROUNDING), (sin * dx + cos * dy) * (1 + _ROUNDING)


def _shared_heights(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    z, dz, other_z, other_dz = (np.asarray(b[:, c], dtype=np.float64) for b in (first, second) for c in (2, 5))
    with np.errstate(over="ignore", invalid="ignore"):
        between = np.minimum(dz, other_dz)
        shared = (dz + other_dz) / 2 - np.abs(z - other_z)
    return np.asarray(np.where(shared > 0, np.minimum(shared, between), 0.0))


def _corners(x: Float64, y: Float64, dx: Float64, dy: Float64, yaw: Float64) -> tuple[Float64, Float64]:
    """``(4, P)`` x and y of the corners, counter-clockwise."""
    along, across = _SIGN_X[:, None] * (dx / 2), _SIGN_Y[:, None] * (dy / 2)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return x + along * cos - across * sin, y + along * sin + across * cos


def _clipped_areas(first: Float64, second: Float64) -> Float64:
    """``(P,)`` area of each first box within its second one.

    In the axes of the larger box, with half sides a and b, the shared area is the integral over -a..a of the smaller
    box's upper minus its lower side, both limited to -b..b. Each edge gives its part of it, so that no vertices need
    to be found and told apart: where corners or edges fall together nothing jumps.
    """
    small, large = _smaller_first(first, second)
    with np.errstate(over="ignore", invalid="ignore"):
        across, up = small[:, 0] - large[:, 0], small[:, 1] - large[:, 1]
        cos, sin = np.cos(large[:, 6]), np.sin(large[:, 6])
        centre_x, centre_y = across * cos + up * sin, up * cos - across * sin
        x, y = _corners(centre_x, centre_y, small[:, 3], small[:, 4], small[:, 6] - large[:, 6])
        area = _area_within(x, y, large[:, 3] / 2, large[:, 4] / 2, centre_y)
    least = small[:, 3] * small[:, 4]
    return np.asarray(np.where(area > _ROUNDING * least, np.minimum(area, least), 0.0))


def _area_within(x: Float64, y: Float64, a: Float64, b: Float64, middle: Float64) -> Float64:
    """``(P,)`` area of counter-clockwise polygons ``(V, P)`` within -a..a and -b..b.

    Args:
        x: ``(V, P)`` of the vertices.
        y: Likewise.
        a: ``(P,)``.
        b: ``(P,)``.
        middle: ``(P,)`` a height within each polygon: areas are summed from there, which keeps their digits.
    """
    next_x = np.roll(x, -1, axis=0)
    run, rise = next_x - x, np.roll(y, -1, axis=0) - y
    start, end = np.clip(x, -a, a), np.clip(next_x, -a, a)
    steps = np.where(run == 0, 1.0, run)
    y_start, y_end = (y + np.clip((cut - x) / steps, 0.0, 1.0) * rise for cut in (start, end))
    low, high = np.clip(y_start, -b, b), np.clip(y_end, -b, b)
    level = low == high
    rise = np.where(level, 1.0, y_end - y_start)
    inside = (high - low) / rise / 2
    mean = np.where(level, low, low * ((low - y_start) / rise + inside) + high * ((y_end - high) / rise + inside))
    return np.asarray(((start - end) * (mean - np.clip(middle, -b, b))).sum(axis=0))


def _smaller_first(first: Float64, second: Float64) -> tuple[Float64, Float64]:
    """Each pair in an order that does not depend on which box came first."""
    later, same = np.zeros(len(first), dtype=bool), np.ones(len(first), dtype=bool)
    keys = [(first[:, 3] * first[:, 4], second[:, 3] * second[:, 4])]
    for one, other in [*keys, *((first[:, column], second[:, column]) for column in (3, 6, 0, 1))]:
        later |= same & (one > other)
        same &= one == other
    return np.where(later[:, None], second, first), np.where(later[:, None], first, second)
