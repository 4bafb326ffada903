"""What is known about a predicted box of a frame besides its score, each number oriented: larger = more likely wrong.

What boxes of every kind have in common is that of boxes in images. Added are what the sensor can see of the box, as far
as its place, its size and the boxes in front of it tell, how it stands to the others around, and the points inside, as
in LidarMetaDetect (Riedlinger et al., 2023, arXiv 2306.07835). The sensor is taken to be at the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.box_scene import scene_context
from ml_debugger.analysis.boxes import Overlaps, PredictedBoxes, join_overlaps
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.columns import BOX_3D_CONTEXT
from ml_debugger.tasks import detection_descriptors as shared
from ml_debugger.tasks.task import Units

__all__ = ["BOX_DESCRIPTORS", "box_descriptors", "box_geometry", "box_numbers", "neighbours"]

Float64 = NDArray[np.float64]

SMALLEST: Final = 1e-3  # metres
NEAREST: Final = 0.5  # metres between box and sensor, where it is less
USUAL_RANGE: Final = 30.0  # metres

_SHARED: Final = tuple(
    name
    for name in shared.BOX_DESCRIPTORS
    if name not in ("side_std", "small", "large", "elongated", "near_border", "far_from_border")
)
_ONE_WAY: Final = ("size_std", "yaw_std", "one_side", "hidden", "turned", "off_ground")
_POINTS: Final = ("few_points", "flat_points", "gathered_points", "sparse")
# For these nobody knows beforehand which way is worse, so that both are offered.
_BOTH_WAYS: Final = (
    "far",
    "range",
    "solid_angle",
    "along_x",
    "along_y",
    "large",
    "long",
    "tall",
    "height",
    "end_on",
    "broadside",
    "diagonal",
    "bottom",
    "raised",
    "alone",
    "inside_border",
)
BOX_DESCRIPTORS: Final = (*_SHARED, *_ONE_WAY, *_POINTS, *_BOTH_WAYS, *(f"not_{name}" for name in _BOTH_WAYS))
"""Names of the columns of :func:`box_descriptors`."""

_OF_CANDIDATES: Final = np.array(["suppressed" in name or name.endswith("_std") for name in BOX_DESCRIPTORS])
_OF_POINTS: Final = np.array([name in _POINTS for name in BOX_DESCRIPTORS])
_OF_BORDER: Final = np.array([name.endswith("_border") for name in BOX_DESCRIPTORS])


def box_descriptors(units: Units) -> Float64:
    """``(U, K)`` descriptors of units with finite scores and boxes, in the order of `BOX_DESCRIPTORS`."""
    known = shared.known_context(units, BOX_3D_CONTEXT)
    place = _place_columns(units)
    found = {
        **shared.shared_columns(units, known),
        **place,
        **_point_columns(known, place["solid_angle"]),
        "size_std": known["size_std"],
        "yaw_std": known["yaw_std"],
        "hidden": known["hidden"],
        "turned": known["turned"],
        "off_ground": np.abs(known["raised"]),
        "raised": known["raised"],
        "alone": np.log1p(known["nearest"]),
        "inside_border": np.log1p(np.maximum(known["border_distance"], 0.0)),
    }
    found |= {f"not_{name}": -found[name] for name in _BOTH_WAYS}
    table = np.concatenate([found[name] for name in BOX_DESCRIPTORS]).reshape(len(BOX_DESCRIPTORS), len(units))
    for columns, name in (
        (_OF_CANDIDATES, "n_suppressed_same"),
        (_OF_POINTS, "n_points"),
        (_OF_BORDER, "border_distance"),
    ):
        shown = shared.shown(units, BOX_3D_CONTEXT, name)
        if not shown.all():
            table[np.ix_(columns, ~shown)] = 0.0
    return np.ascontiguousarray(table.T)


def box_geometry(units: Units) -> Float64:
    """``(U, 2)`` logarithms of the volume of a box, and of its length / width."""
    size = _sizes(units)
    return np.stack([np.log(size).sum(axis=1), np.log(size[:, 0] / size[:, 1])], axis=1)


def box_numbers(units: Units) -> Float64:
    """``(U, 4)`` of which each class has typical values: logarithms of length, width, height; the bottom in metres."""
    size = _sizes(units)
    bottom = units.box[:, 2].astype(np.float64) - size[:, 2] / 2.0
    return np.concatenate([np.log(size), bottom[:, None]], axis=1)


def neighbours(boxes: PredictedBoxes) -> NDArray[np.float32]:
    """``(U, 17)`` what the other boxes of its frame say about each, in `NEIGHBOUR_CONTEXT` and `SCENE_CONTEXT`.

    The former as in images; overlaps are seen from above.
    """
    return np.concatenate([shared.neighbours(boxes, _beside_in_frames), scene_context(boxes)], axis=1)


def _beside_in_frames(boxes: PredictedBoxes) -> Overlaps:
    return join_overlaps(BOXES_3D.iter_overlaps(boxes, boxes, MatchSettings()))


def _sizes(units: Units) -> Float64:
    return np.maximum(np.asarray(units.box[:, 3:6], dtype=np.float64), SMALLEST)


def _place_columns(units: Units) -> dict[str, Float64]:
    """Where a box is, what of it faces the sensor, and its size and shape.

    A box of which two sides show equally wide has all its extents told by points; of one of which a single side shows
    (``one_side`` near 1), length or width is a guess.
    """
    x, y, _, _, _, _, yaw = units.box.astype(np.float64).T
    size, shape = box_geometry(units).T
    length, width, height = np.log(_sizes(units)).T
    far = np.maximum(np.hypot(x, y), NEAREST)
    seen = yaw - np.arctan2(y, x)
    broadside, end_on = np.abs(np.sin(seen)), np.abs(np.cos(seen))
    side, end = np.exp(length) * broadside, np.exp(width) * end_on
    return {
        "one_side": 1.0 - 2.0 * np.minimum(side, end) / (side + end),
        "solid_angle": height + np.log(side + end) - 2.0 * np.log(far),
        "far": np.log(far),
        "range": far / USUAL_RANGE,
        "along_x": np.abs(x) / far,
        "along_y": np.abs(y) / far,
        "large": size,
        "long": shape,
        "tall": height - (length + width) / 2.0,
        "height": height,
        "end_on": end_on,
        "broadside": broadside,
        "diagonal": np.abs(np.sin(2.0 * yaw)),
        "bottom": box_numbers(units)[:, 3],
    }


def _point_columns(known: Mapping[str, Float64], solid_angle: Float64) -> dict[str, Float64]:
    """What the points inside say: few, flat, close together, or fewer than so large and near a box should have."""
    number = np.log1p(known["n_points"])
    return {
        "few_points": -number,
        "flat_points": -known["points_height"],
        "gathered_points": -known["points_spread"],
        "sparse": solid_angle - number,
    }
