"""Which points of a cloud lie in which upright boxes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import iter_ranges
from ml_debugger.analysis.boxes_3d import half_extents, has_volume

__all__ = ["points_in_boxes"]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_SLACK: Final = 1e-9
_STRIPS: Final = 256
_CELLS: Final = 128


def points_in_boxes(points: NDArray[Any], boxes: NDArray[Any]) -> tuple[Int64, Int64]:
    """Which points lie in which boxes, borders included.

    Most points of a scan are near no box, which a coarse grid tells. The others are sorted into strips once, so that
    each box is compared with those around it only.

    Args:
        points: ``(N, 3)`` x y z in metres, or more columns, which are not looked at; not finite: in no box.
        boxes: ``(U, 7)``.

    Returns:
        ``(K,)`` positions of boxes, ascending, and ``(K,)`` positions of points; ``np.bincount`` of the first counts
        the points of each box.
    """
    solid = np.flatnonzero(has_volume(boxes))
    box = boxes[solid].astype(np.float64)
    usable = _near_any(points, box)
    found = [(np.empty(0, dtype=np.int64),) * 2]
    if len(usable):
        place = points[usable, :3].astype(np.float64)
        order, low, counts, owner = _strips(place, box)
        for rows, within in iter_ranges(counts):
            point, at = order[low[rows] + within], owner[rows]
            inside = _is_inside(place[point], box[at])
            found.append((solid[at[inside]], usable[point[inside]]))
    at, point = (np.concatenate(column) for column in zip(*found, strict=True))
    sorted_ = np.lexsort((point, at))
    return at[sorted_], point[sorted_]


def _near_any(points: NDArray[Any], box: Float64) -> Int64:
    """Positions of the points in the cells of a grid that the upright rectangle around any box meets."""
    if not len(box):
        return np.empty(0, dtype=np.int64)
    spans = [_span(box[:, axis], half) for axis, half in enumerate(half_extents(box))]
    near = np.ones(len(points), dtype=bool)
    for axis, (low, high) in enumerate(spans):
        near &= (points[:, axis] >= low.min()) & (points[:, axis] <= high.max())
    found = np.flatnonzero(near)
    # sums of these along both axes count the rectangles that meet a cell
    steps = np.zeros((_CELLS + 1, _CELLS + 1), dtype=np.int64)
    (left, right), (base, top) = (_cells(low, high, start=low.min(), end=high.max()) for low, high in spans)
    for x, y, step in ((left, base, 1), (right + 1, base, -1), (left, top + 1, -1), (right + 1, top + 1, 1)):
        np.add.at(steps, (x, y), step)
    covered = steps.cumsum(axis=0).cumsum(axis=1) > 0
    columns = ((points[found, axis], low.min(), high.max()) for axis, (low, high) in enumerate(spans))
    (across,), (up,) = (_cells(values, start=start, end=end) for values, start, end in columns)
    return found[covered[across, up]]


def _span(centre: Float64, half: Float64) -> tuple[Float64, Float64]:
    """``(U,)`` where each rectangle begins and ends along an axis."""
    return centre - half - _SLACK, centre + half + _SLACK


def _cells(*places: NDArray[Any], start: float, end: float) -> tuple[Int64, ...]:
    """Cells that numbers lie in; what is greater never lies in a lower one, so that rounding loses no point."""
    width = (end - start) / _CELLS or 1.0
    return tuple(
        np.clip((place.astype(np.float64) - start) / width, 0, _CELLS - 1).astype(np.int64) for place in places
    )


def _strips(place: Float64, box: Float64) -> tuple[Int64, Int64, Int64, Int64]:
    """Points in strips of equal x, by y within each; and the part of each strip that each box may hold.

    Returns:
        ``(N,)`` order of the points, and per part ``(R,)`` its start in that order, its length, and its box.
    """
    left, width = float(place[:, 0].min()), float(np.ptp(place[:, 0])) / _STRIPS or 1.0
    base, tall = float(place[:, 1].min()), float(np.ptp(place[:, 1]))

    def strip_of(x: Float64) -> Float64:
        return np.clip(np.floor((x - left) / width), 0.0, _STRIPS)

    def key_of(strip: Float64, y: Float64) -> Float64:
        return np.asarray(strip * (2.0 * tall + 1.0) + np.clip(y - base, 0.0, tall))  # strips stay apart

    key = key_of(strip_of(place[:, 0]), place[:, 1])
    order = np.argsort(key, kind="stable")
    key = key[order]
    half_x, half_y = (half + _SLACK for half in half_extents(box))
    from_strip, to_strip = strip_of(box[:, 0] - half_x), strip_of(box[:, 0] + half_x)
    pieces = iter_ranges((to_strip - from_strip + 1).astype(np.int64))
    owner, within = (np.concatenate(column) for column in zip(*pieces, strict=True))
    strip = from_strip[owner] + within
    low = np.searchsorted(key, key_of(strip, (box[:, 1] - half_y)[owner]), side="left")
    high = np.searchsorted(key, key_of(strip, (box[:, 1] + half_y)[owner]), side="right")
    return order, low, high - low, owner


def _is_inside(place: Float64, box: Float64) -> Bool:
    """``(P,)`` whether ``(P, 3)`` points lie in ``(P, 7)`` boxes, row by row."""
    across, up, over = (place - box[:, :3]).T
    cos, sin = np.cos(box[:, 6]), np.sin(box[:, 6])
    near = (np.abs(across * cos + up * sin) <= box[:, 3] / 2) & (np.abs(up * cos - across * sin) <= box[:, 4] / 2)
    return np.asarray(near & (np.abs(over) <= box[:, 5] / 2))
