"""What the other boxes of a frame say about each: in front of it, beside it, turned as it is, on the same ground.

The sensor is taken to be at the origin, as in frames of a LiDAR.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import PredictedBoxes, pairs_of_images
from ml_debugger.analysis.boxes_3d import bev_corners, has_volume
from ml_debugger.columns import SCENE_CONTEXT

__all__ = ["FARTHEST", "scene_context"]

Float64 = NDArray[np.float64]

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
    box = np.where(seen[:, None], boxes.box, 0.0).astype(np.float64)
    found = _Sums(len(box))
    angles = _angles(box)
    frames = np.where(seen, boxes.input_index, -1)
    for one, other in pairs_of_images(frames, frames):
        apart = (one != other) & seen[one]
        found.add(box, np.asarray(boxes.score, dtype=np.float64), angles, one[apart], other[apart])
    return found.columns()


class _Sums:
    """What is collected from pairs, some boxes at a time."""

    def __init__(self, count: int) -> None:
        self.hidden, self.nearest = np.zeros(count), np.full(count, FARTHEST)
        self.weight, self.turned, self.raised = np.zeros((3, count))

    def add(
        self, box: Float64, score: Float64, angles: tuple[Float64, Float64, Float64, Float64], one: Any, other: Any
    ) -> None:
        """All pairs of some first boxes with the others of their frames."""
        distance = np.hypot(box[one, 0] - box[other, 0], box[one, 1] - box[other, 1])
        np.minimum.at(self.nearest, one, distance)
        np.maximum.at(self.hidden, one, _hidden(angles, one, other))
        weight = score[other] / (1.0 + distance / FADING)
        bottom = box[:, 2] - box[:, 5] / 2.0
        count = len(self.weight)
        self.weight += np.bincount(one, weight, minlength=count)
        self.turned += np.bincount(one, weight * np.abs(np.sin(box[one, 6] - box[other, 6])), minlength=count)
        self.raised += np.bincount(one, weight * (bottom[one] - bottom[other]), minlength=count)

    def columns(self) -> NDArray[np.float32]:
        """The table."""
        scale = np.where(self.weight > 0, 1.0 / np.where(self.weight > 0, self.weight, 1.0), 0.0)
        found = {
            "hidden": self.hidden,
            "turned": self.turned * scale,
            "raised": self.raised * scale,
            "nearest": self.nearest,
        }
        return np.stack([found[name] for name in SCENE_CONTEXT], axis=1).astype(np.float32)


def _angles(box: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """``(U,)`` each: distance and direction of the centre, and how far corners reach to its right and left."""
    direction = np.arctan2(box[:, 1], box[:, 0])
    corners = bev_corners(box)
    aside = _turn(np.arctan2(corners[:, :, 1], corners[:, :, 0]) - direction[:, None])
    return np.hypot(box[:, 0], box[:, 1]), direction, aside.min(axis=1, initial=0.0), aside.max(axis=1, initial=0.0)


def _hidden(angles: tuple[Float64, Float64, Float64, Float64], one: Any, other: Any) -> Float64:
    """``(P,)`` share of one box's angle that the other covers; 0 where the other is not nearer."""
    distance, direction, right, left = angles
    aside = _turn(direction[other] - direction[one])
    covered = np.minimum(left[one], aside + left[other]) - np.maximum(right[one], aside + right[other])
    width = np.maximum(left[one] - right[one], 1e-9)
    nearer = distance[other] < distance[one] - IN_FRONT
    return np.where(nearer, np.clip(covered / width, 0.0, 1.0), 0.0)


def _turn(angle: Float64) -> Float64:
    """The same angle within -pi..pi."""
    return np.asarray(np.mod(angle + np.pi, 2.0 * np.pi) - np.pi)
