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
PAIRS: Final = 8192  # looked at together: larger tables would be taken from, and given back to, the system each time


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
    scene = _Scene(boxes.box[order].astype(np.float64), boxes.score[order].astype(np.float64))
    ends = np.flatnonzero(np.diff(boxes.input_index[order])) + 1
    for start, end in pairwise([0, *ends.tolist(), len(order)]):
        scene.look(start, end)
    found = np.zeros((len(boxes), len(SCENE_CONTEXT)), dtype=np.float32)
    found[:, SCENE_CONTEXT.index("nearest")] = FARTHEST
    found[order] = scene.columns()
    return found


class _Scene:
    """The boxes, frame by frame, and what is collected from pairs of them.

    Pairs are matrices, a row per box, which spares looking up both boxes of each.
    """

    def __init__(self, box: Float64, score: Float64) -> None:
        count = len(box)
        self.x, self.y, self.score = box[:, 0].copy(), box[:, 1].copy(), score
        self.bottom = box[:, 2] - box[:, 5] / 2.0
        self.cos, self.sin = np.cos(box[:, 6]), np.sin(box[:, 6])
        self.far, self.direction = np.hypot(self.x, self.y), np.arctan2(self.y, self.x)
        corners = bev_corners(box)
        aside = _turn(np.arctan2(corners[:, :, 1], corners[:, :, 0]) - self.direction[:, None])
        self.right, self.left = aside.min(axis=1, initial=0.0), aside.max(axis=1, initial=0.0)
        self.hidden, self.nearest = np.zeros(count), np.full(count, FARTHEST**2)
        self.weight, self.turned, self.raised = np.zeros((3, count))

    def look(self, start: int, end: int) -> None:
        """All pairs of the boxes of one frame, some first boxes at a time."""
        step = max(PAIRS // max(end - start, 1), 1)
        for low in range(start, end, step):
            rows, others = slice(low, min(low + step, end)), slice(start, end)
            self._weigh(rows, others)
            self._hide(rows, others)

    def _weigh(self, rows: slice, others: slice) -> None:
        """Distances, and weighted sums."""
        squared = (self.x[rows, None] - self.x[others]) ** 2
        squared += (self.y[rows, None] - self.y[others]) ** 2
        weight = self.score[others] / (1.0 + np.sqrt(squared) / FADING)
        itself = np.arange(len(squared)), np.arange(rows.start - others.start, rows.stop - others.start)
        squared[itself], weight[itself] = np.inf, 0.0
        np.minimum(self.nearest[rows], squared.min(axis=1), out=self.nearest[rows])
        weight.sum(axis=1, out=self.weight[rows])
        turned = self.sin[rows, None] * self.cos[others]
        turned -= self.cos[rows, None] * self.sin[others]
        np.abs(turned, out=turned)
        turned *= weight
        turned.sum(axis=1, out=self.turned[rows])
        weight *= self.bottom[rows, None] - self.bottom[others]
        weight.sum(axis=1, out=self.raised[rows])

    def _hide(self, rows: slice, others: slice) -> None:
        """Shares of the angles of boxes that nearer ones cover."""
        aside = _turn(self.direction[others] - self.direction[rows, None])
        high = np.minimum(self.left[rows, None], aside + self.left[others])
        aside += self.right[others]
        low = np.maximum(self.right[rows, None], aside, out=aside)
        hides = high > low
        hides &= self.far[others] < self.far[rows, None] - IN_FRONT
        covered = np.where(hides, high - low, 0.0).max(axis=1)
        share = np.divide(covered, self.left[rows] - self.right[rows], out=np.zeros(len(covered)), where=covered > 0)
        np.minimum(share, 1.0, out=self.hidden[rows])

    def columns(self) -> NDArray[np.float32]:
        """The table."""
        scale = np.where(self.weight > 0, 1.0 / np.where(self.weight > 0, self.weight, 1.0), 0.0)
        found = [self.hidden, self.turned * scale, self.raised * scale, np.sqrt(self.nearest)]
        return np.stack(found, axis=1).astype(np.float32)


def _turn(angle: Float64) -> Float64:
    """The same angle within -pi..pi."""
    return np.asarray(angle - 2.0 * np.pi * np.rint(angle / (2.0 * np.pi)))
