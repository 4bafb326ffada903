"""What is known about a predicted box of a frame besides its score, each number oriented: larger = more likely wrong.

What boxes of every kind have in common is that of boxes in images; added are the points inside and the distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.box_scene import scene_context
from ml_debugger.analysis.boxes import Overlaps, PredictedBoxes, join_overlaps
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.columns import BOX_3D_CONTEXT
from ml_debugger.tasks import detection_descriptors as shared
from ml_debugger.tasks.task import Units

__all__ = ["BOX_DESCRIPTORS", "box_descriptors", "box_geometry", "neighbours"]

Float64 = NDArray[np.float64]

SMALLEST: Final = 1e-3  # metres

_PLACE: Final = ("small", "large", "elongated", "near_border", "far_from_border")
_POINTS: Final = ("few_points", "flat_points", "spread_points")
BOX_DESCRIPTORS: Final = (
    *(name for name in shared.BOX_DESCRIPTORS if name not in ("side_std", *_PLACE)),
    "size_std",
    "yaw_std",
    *_PLACE,
    "far",
    *_POINTS,
)
"""Names of the columns of :func:`box_descriptors`."""

_OF_CANDIDATES: Final = np.array(["suppressed" in name or name.endswith("_std") for name in BOX_DESCRIPTORS])
_OF_POINTS: Final = np.array([name in _POINTS for name in BOX_DESCRIPTORS])
_OF_BORDER: Final = np.array([name.endswith("_border") for name in BOX_DESCRIPTORS])


def box_descriptors(units: Units) -> Float64:
    """``(U, K)`` descriptors of units with finite scores and boxes, in the order of `BOX_DESCRIPTORS`."""
    known = shared.known_context(units, BOX_3D_CONTEXT)
    found = {
        **shared.shared_columns(units, known),
        "size_std": known["size_std"],
        "yaw_std": known["yaw_std"],
        **_place_columns(units, known),
        "few_points": -np.log1p(known["n_points"]),
        "flat_points": -known["points_height"],
        "spread_points": -known["points_spread"],
    }
    table = np.stack([found[name] for name in BOX_DESCRIPTORS], axis=1)
    for columns, name in (
        (_OF_CANDIDATES, "n_suppressed_same"),
        (_OF_POINTS, "n_points"),
        (_OF_BORDER, "border_distance"),
    ):
        table[~shared.shown(units, BOX_3D_CONTEXT, name)[:, None] & columns] = 0.0
    return table


def box_geometry(units: Units) -> Float64:
    """``(U, 2)`` logarithms of the volume of a box, and of its length / width."""
    size = _sizes(units)
    return np.stack([np.log(size).sum(axis=1), np.log(size[:, 0] / size[:, 1])], axis=1)


def neighbours(boxes: PredictedBoxes) -> NDArray[np.float32]:
    """``(U, 17)`` what the other boxes of its frame say about each, in `NEIGHBOUR_CONTEXT` and `SCENE_CONTEXT`.

    The former as in images; overlaps are seen from above.
    """
    return np.concatenate([shared.neighbours(boxes, _beside_in_frames), scene_context(boxes)], axis=1)


def _beside_in_frames(boxes: PredictedBoxes) -> Overlaps:
    return join_overlaps(BOXES_3D.iter_overlaps(boxes, boxes, MatchSettings()))


def _sizes(units: Units) -> Float64:
    return np.maximum(np.asarray(units.box[:, 3:6], dtype=np.float64), SMALLEST)


def _place_columns(units: Units, known: Mapping[str, Any]) -> dict[str, Float64]:
    """Size and shape, the distance from the sensor, and that to the border of what the detector looks at."""
    size, shape = box_geometry(units).T
    x, y = np.asarray(units.box[:, :2], dtype=np.float64).T
    distance = np.log1p(np.maximum(known["border_distance"], 0.0))
    return {
        "small": -size,
        "large": size,
        "elongated": np.abs(shape),
        "near_border": -distance,
        "far_from_border": distance,
        "far": np.log1p(np.hypot(x, y)),
    }
