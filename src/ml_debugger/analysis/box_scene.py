"""What the other boxes of a frame say about each: in front of it, beside it, turned as it is, on the same ground.

The sensor is taken to be at the origin, as in frames of a LiDAR.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import PredictedBoxes, pairs_of_images
from ml_debugger.analysis.boxes_3d import bev_corners, has_volume
from ml_debugger.columns import SCENE_CONTEXT

__all__ = ["FARTHEST", "scene_context"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

FARTHEST: Final = 30.0
"""Metres from which on another box is not near; also told of a box that is alone."""

IN_FRONT: Final = 0.5  # metres by which a box must be nearer to the sensor to hide another
FADING: Final = 10.0  # metres at which another box counts half


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
    seen = has_volume(boxes.box) & np.isfinite(boxes.score)
    scene = _Scene(np.where(seen[:, None], boxes.box, 0.0).astype(np.float64), np.asarray(boxes.score, np.float64))
    frames = np.where(seen, boxes.input_index, -1)
    for one, other in pairs_of_images(frames, frames):
        apart = np.flatnonzero((one != other) & seen[one])
        scene.add(one[apart], other[apart])
    return scene.columns()


class _Scene:
    """The boxes, and what is collected from pairs of them, some boxes at a time."""

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

    def add(self, one: Int64, other: Int64) -> None:
        """All pairs of some first boxes with the others of their frames, first boxes ascending."""
        if not len(one):
            return
        starts = np.flatnonzero(np.diff(one, prepend=-1))
        rows = one[starts]
        squared = (self.x[one] - self.x[other]) ** 2 + (self.y[one] - self.y[other]) ** 2
        self.nearest[rows] = np.minimum(self.nearest[rows], np.minimum.reduceat(squared, starts))
        weight = self.score[other] / (1.0 + np.sqrt(squared) / FADING)
        turned = np.abs(self.sin[one] * self.cos[other] - self.cos[one] * self.sin[other])
        self.weight[rows] = np.add.reduceat(weight, starts)
        self.turned[rows] = np.add.reduceat(weight * turned, starts)
        self.raised[rows] = np.add.reduceat(weight * (self.bottom[one] - self.bottom[other]), starts)
        self._hide(one, other)

    def _hide(self, one: Int64, other: Int64) -> None:
        """Shares of the angles of boxes that nearer ones cover."""
        nearer = np.flatnonzero(self.far[other] < self.far[one] - IN_FRONT)
        one, other = one[nearer], other[nearer]
        aside = _turn(self.direction[other] - self.direction[one])
        low, high = np.maximum(self.right[one], aside + self.right[other]), aside + self.left[other]
        covers = np.flatnonzero(np.minimum(self.left[one], high) > low)
        one, covered = one[covers], np.minimum(self.left[one], high)[covers] - low[covers]
        np.maximum.at(self.hidden, one, np.minimum(covered / (self.left[one] - self.right[one]), 1.0))

    def columns(self) -> NDArray[np.float32]:
        """The table."""
        scale = np.where(self.weight > 0, 1.0 / np.where(self.weight > 0, self.weight, 1.0), 0.0)
        found = {
            "hidden": self.hidden,
            "turned": self.turned * scale,
            "raised": self.raised * scale,
            "nearest": np.sqrt(self.nearest),
        }
        return np.stack([found[name] for name in SCENE_CONTEXT], axis=1).astype(np.float32)


def _turn(angle: Float64) -> Float64:
    """The same angle within -pi..pi."""
    return np.asarray(angle - 2.0 * np.pi * np.rint(angle / (2.0 * np.pi)))
