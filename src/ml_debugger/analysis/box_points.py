"""What the points inside upright boxes, and the border of the scene, say about the boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import run_starts
from ml_debugger.analysis.boxes_3d import half_extents
from ml_debugger.analysis.points_in_boxes import points_in_boxes

__all__ = ["border_distance", "inside_of"]

Float64 = NDArray[np.float64]


def inside_of(points: NDArray[Any], boxes: NDArray[Any]) -> Float64:
    """``(U, 3)`` what is inside of each box of a frame.

    How many points there are; what share of the height they span, 0..1; and what share of length and width, on average.
    Without points all three are 0.

    Args:
        points: ``(N, 3)`` x y z in metres, or more columns, which are not looked at.
        boxes: ``(U, 7)``.
    """
    at, point = points_in_boxes(points, boxes)
    found = np.zeros((len(boxes), 3))
    found[:, 0] = np.bincount(at, minlength=len(boxes))
    if not len(at):
        return found
    box = boxes.astype(np.float64)
    across, up, over = (points[:, axis].take(point).astype(np.float64) - box[:, axis].take(at) for axis in range(3))
    cos, sin = np.cos(box[:, 6]).take(at), np.sin(box[:, 6]).take(at)
    starts = np.flatnonzero(run_starts(at))
    sides = (across * cos + up * sin, up * cos - across * sin, over)
    spans = [np.maximum.reduceat(side, starts) - np.minimum.reduceat(side, starts) for side in sides]
    along, aside, high = np.stack(spans) / box[at[starts], 3:6].T
    found[at[starts], 1] = high
    found[at[starts], 2] = (along + aside) / 2
    return found


def border_distance(boxes: NDArray[Any], pc_range: NDArray[Any]) -> Float64:
    """``(U,)`` metres from each ``(U, 7)`` box to the nearest side of the scene, seen from above; less than 0 beyond.

    Args:
        boxes: ``(U, 7)``.
        pc_range: ``(6,)`` x y z where the scene begins, and x y z where it ends, metres.
    """
    x, y = boxes[:, 0].astype(np.float64), boxes[:, 1].astype(np.float64)
    half_x, half_y = half_extents(boxes.astype(np.float64))
    low_x, low_y, _, high_x, high_y, _ = np.asarray(pc_range, dtype=np.float64)
    room = [x - half_x - low_x, high_x - x - half_x, y - half_y - low_y, high_y - y - half_y]
    return np.asarray(np.minimum.reduce(room))
