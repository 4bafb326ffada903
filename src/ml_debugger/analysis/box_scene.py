"""What the other boxes of a frame say about each: in front of it, beside it, turned as it is, on the same ground.

The sensor is taken to be at the origin, as in frames of a LiDAR.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.analysis.boxes_3d import bev_corners, has_volume
from ml_debugger.columns import SCENE_CONTEXT

__all__ = ["FARTHEST", "scene_context"]

Float64 = NDArray[np.float64]

FARTHEST: Final = 30.0
"""Metres from which on another box is not near; also told of a box that is alone."""

IN_FRONT: Final = 0.5  # metres by which a box must be nearer to the sensor to hide another
FADING: Final = 10.0  # metres at which another box counts half
PAIRS: Final = 40_000  # looked at together: tables of so many numbers stay in a processor's cache
HALF_TURN: Final = 2**15  # of whole numbers of 16 bits, which go on from their least after their greatest as angles do


def scene_context(boxes: PredictedBoxes) -> NDArray[np.float32]:
    """``(U, 4)`` in the columns `SCENE_CONTEXT`; boxes that cover nothing say nothing, and nothing is said of them.

    ``hidden``: greatest share of the box, by angle as the sensor sees it from above, that lies behind one nearer box.
    ``turned``: mean of ``|sin|`` of the angles between its axes and those of other boxes.
    ``raised``: its bottom above the mean of theirs, metres.
    ``nearest``: distance to the nearest centre on the ground, at most `FARTHEST`.

    Means weigh the others by their score, and by their distance ``d`` as ``1 / (1 + d / 10 m)``; 0 where there is none.

    Args:
        boxes: U boxes ``(U, 7)``, with the frame of each.
    """
    seen = np.flatnonzero(has_volume(boxes.box) & np.isfinite(boxes.score))
    order = seen[np.argsort(boxes.input_index[seen], kind="stable")]
    ends = np.flatnonzero(np.diff(boxes.input_index[order])) + 1
    frames = list(pairwise([0, *ends.tolist(), len(order)]))
    most = max((end - start) * _rows_at_a_time(end - start) for start, end in frames)
    scene = _Scene(boxes.box[order].astype(np.float64), boxes.score[order].astype(np.float64), most)
    for start, end in frames:
        scene.look(start, end)
    found = np.zeros((len(boxes), len(SCENE_CONTEXT)), dtype=np.float32)
    found[:, SCENE_CONTEXT.index("nearest")] = FARTHEST
    found[order] = scene.columns()
    return found


class _Scene:
    """The boxes, frame by frame, and what is collected from pairs of them.

    Pairs are matrices, a row per box, which spares looking up both boxes of each; at most ``most`` are held at a time.
    """

    def __init__(self, box: Float64, score: Float64, most: int) -> None:
        count = len(box)
        self.x, self.y, self.score = box[:, 0].copy(), box[:, 1].copy(), score
        self.bottom = box[:, 2] - box[:, 5] / 2.0
        self.cos, self.sin = np.cos(box[:, 6]), np.sin(box[:, 6])
        self.far, self.direction = np.hypot(self.x, self.y), np.arctan2(self.y, self.x)
        corners = bev_corners(box)
        aside = _turn(np.arctan2(corners[:, :, 1], corners[:, :, 0]) - self.direction[:, None])
        self.right, self.left = aside.min(axis=1, initial=0.0), aside.max(axis=1, initial=0.0)
        self.bearing, self.reach = _whole_angles(self.direction, np.maximum(self.left, -self.right))
        self.covered, self.nearest = np.zeros(count), np.full(count, FARTHEST**2)
        self.weight, self.turned, self.raised = np.zeros((3, count))
        self._tables = np.empty((3, most))  # the same for all frames: to ask for new ones takes as long as to fill them

    def look(self, start: int, end: int) -> None:
        """All pairs of the boxes of one frame, some first boxes at a time."""
        step = _rows_at_a_time(end - start)
        for low in range(start, end, max(step, 1)):
            rows, others = slice(low, min(low + step, end)), slice(start, end)
            self._weigh(rows, others)
            self._hide(rows, others)

    def _weigh(self, rows: slice, others: slice) -> None:
        """Distances, and weighted sums."""
        height, width = rows.stop - rows.start, others.stop - others.start
        squared, other, weight = (table[: height * width].reshape(height, width) for table in self._tables)
        _squares_of_differences(self.x, rows, others, squared)
        squared += _squares_of_differences(self.y, rows, others, other)
        np.sqrt(squared, out=weight)
        weight /= FADING
        weight += 1.0
        np.divide(self.score[others], weight, out=weight)
        itself = slice(rows.start - others.start, None, width + 1)
        squared.reshape(-1)[itself], weight.reshape(-1)[itself] = np.inf, 0.0
        np.minimum(self.nearest[rows], squared.min(axis=1), out=self.nearest[rows])
        weight.sum(axis=1, out=self.weight[rows])
        turned = np.multiply(self.sin[rows, None], self.cos[others], out=squared)
        turned -= np.multiply(self.cos[rows, None], self.sin[others], out=other)
        np.abs(turned, out=turned)
        turned *= weight
        turned.sum(axis=1, out=self.turned[rows])
        weight *= np.subtract(self.bottom[rows, None], self.bottom[others], out=other)
        weight.sum(axis=1, out=self.raised[rows])

    def _hide(self, rows: slice, others: slice) -> None:
        """Angles of boxes that nearer ones cover. Few can: rounded angles tell which."""
        apart = np.abs(self.bearing[others] - self.bearing[rows, None]).view(np.uint16)
        may = apart < self.reach[rows, None] + self.reach[others]
        may &= self.far[others] < self.far[rows, None] - IN_FRONT
        found = np.flatnonzero(may)
        one = found // may.shape[1]
        other = found - one * may.shape[1] + others.start
        one += rows.start
        aside = _turn(self.direction[other] - self.direction[one])
        high = np.minimum(self.left[one], aside + self.left[other])
        low = np.maximum(self.right[one], aside + self.right[other])
        np.maximum.at(self.covered, one, high - low)

    def columns(self) -> NDArray[np.float32]:
        """The table."""
        scale = np.divide(1.0, self.weight, out=np.zeros(len(self.weight)), where=self.weight > 0)
        seen, hides = self.left - self.right, self.covered > 0
        hidden = np.minimum(np.divide(self.covered, seen, out=np.zeros(len(seen)), where=hides), 1.0)
        found = [hidden, self.turned * scale, self.raised * scale, np.sqrt(self.nearest)]
        return np.stack(found, axis=1).astype(np.float32)


def _turn(angle: Float64) -> Float64:
    """The same angle within -pi..pi."""
    return np.asarray(angle - 2.0 * np.pi * np.rint(angle / (2.0 * np.pi)))


def _rows_at_a_time(count: int) -> int:
    """Of the boxes of a frame, how many are compared with all of them at once."""
    return min(max(PAIRS // max(count, 1), 1), count)


def _squares_of_differences(values: Float64, rows: slice, others: slice, out: Float64) -> Float64:
    np.subtract(values[rows, None], values[others], out=out)
    return np.multiply(out, out, out=out)


def _whole_angles(direction: Float64, reach: Float64) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Directions, and the greatest angles to either side of them, in parts of a half turn.

    The latter are rounded up by more than directions are rounded, so that none that meet are taken for apart.
    """
    bearing = np.rint(direction * (HALF_TURN / np.pi)).astype(np.int64).astype(np.int16)
    beside = np.minimum(np.ceil(reach * (HALF_TURN / np.pi)) + 2.0, HALF_TURN - 1.0)
    return bearing, beside.astype(np.uint16)
