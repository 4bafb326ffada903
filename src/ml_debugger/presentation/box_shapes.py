"""What tables and pictures need to know of boxes: of images, and of point clouds seen from above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes_3d import bev_areas, shared_areas
from ml_debugger.columns import BOX_3D_COLUMNS, BOX_COLUMNS

__all__ = ["FLAT", "UPRIGHT", "Box", "BoxShape", "Rectangle", "overlap", "shape_of", "shape_of_task"]

Box: TypeAlias = tuple[float, ...]
"""``x1, y1, x2, y2`` in pixels, or ``x, y, z, dx, dy, dz, yaw`` in metres and radians."""

Rectangle: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True, slots=True)
class BoxShape:
    """What tables and pictures need to know of boxes.

    Attributes:
        columns: What their numbers are called in tables.
        areas: Of boxes, as they are drawn.
        shared: Areas that a box shares with others.
        sizes: ``(N, K)`` boxes to ``(N,)``: which of them are large.
        apart: How far a box is from others, to find which belong together although they share nothing; None where such
            never do.
    """

    columns: tuple[str, ...]
    areas: Callable[[Sequence[Box]], Sequence[float]]
    shared: Callable[[Box, Sequence[Box]], Sequence[float]]
    sizes: Callable[[NDArray[Any]], NDArray[Any]]
    apart: Callable[[Box, Sequence[Box]], Sequence[float]] | None = None

    def nearest(self, box: Box, others: Sequence[Box], *, touching: bool = False) -> int | None:
        """Position of the other box that shares most with a box, or is nearest to it; None where none qualifies.

        Args:
            box: The box.
            others: The other boxes.
            touching: Whether only those qualify that share something with it.
        """
        if not others:
            return None
        shared = self.shared(box, others)
        best = max(range(len(others)), key=shared.__getitem__)
        if shared[best] > 0:
            return best
        return (
            None if touching or self.apart is None else min(range(len(others)), key=self.apart(box, others).__getitem__)
        )

    def beside(self, box: Box, others: Sequence[Box], share: float) -> list[bool]:
        """Which other boxes overlap a box by at least a share (intersection over union)."""
        areas, own = self.areas(others), self.areas([box])[0]
        shared = self.shared(box, others)
        return [part >= share * (area + own - part) > 0 for part, area in zip(shared, areas, strict=True)]


def overlap(first: Box, second: Box) -> float:
    """Area that two rectangles ``x1, y1, x2, y2`` share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def _flat_areas(boxes: Sequence[Box]) -> list[float]:
    return [max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0) for box in boxes]


def _upright(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array(boxes, dtype=np.float64).reshape(-1, len(BOX_3D_COLUMNS))


def _upright_shared(box: Box, others: Sequence[Box]) -> list[float]:
    return [float(area) for area in shared_areas(_upright([box] * len(others)), _upright(others))]


def _upright_apart(box: Box, others: Sequence[Box]) -> list[float]:
    between = _upright(others)[:, :2] - np.array(box[:2])
    return [float(distance) for distance in np.hypot(between[:, 0], between[:, 1])]


FLAT: Final = BoxShape(
    BOX_COLUMNS,
    areas=_flat_areas,
    shared=lambda box, others: [overlap(one, box) for one in others],
    sizes=lambda boxes: (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
)
UPRIGHT: Final = BoxShape(
    BOX_3D_COLUMNS,
    areas=lambda boxes: [float(area) for area in bev_areas(_upright(boxes))],
    shared=_upright_shared,
    sizes=lambda boxes: boxes[:, 3] * boxes[:, 4] * boxes[:, 5],
    apart=_upright_apart,  # boxes that are matched by the distance of their centres need not touch
)

_BY_TASK: Final = {"object_detection": FLAT, "object_detection_3d": UPRIGHT}


def shape_of(box: Box) -> BoxShape:
    """The shape of a box, by how many numbers it has."""
    return FLAT if len(box) == len(BOX_COLUMNS) else UPRIGHT


def shape_of_task(task: str | None) -> BoxShape | None:
    """The shape of the boxes that a task is about; None for a task without boxes."""
    return _BY_TASK.get(task or "")
