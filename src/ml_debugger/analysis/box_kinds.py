"""What matching needs to know of boxes: of images, and of point clouds; another kind is another value of `BoxKind`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import Overlaps, PredictedBoxes, TrueBoxes, has_area, iter_overlaps
from ml_debugger.analysis.boxes_3d import bev_areas, box_volumes, has_volume, iter_shared_space
from ml_debugger.analysis.match_settings import MEASURES, MatchSettings
from ml_debugger.errors import ConfigError, InputError

__all__ = ["BOXES_2D", "BOXES_3D", "BoxKind"]

Boxes = PredictedBoxes | TrueBoxes


@dataclass(frozen=True, slots=True)
class BoxKind:
    """What matching needs to know of boxes.

    Attributes:
        width: Numbers of a box.
        form: What they are, for messages.
        covers: ``(U, width)`` boxes to ``(U,)`` bool, whether each covers something.
        iter_overlaps: First boxes, second boxes and settings to all pairs of the same image that overlap or share
            something, in order, in pieces. Where overlap means something else class by class, the second boxes' decide.
        measures: What overlap can mean; none where it always means the same.
    """

    width: int
    form: str
    covers: Callable[[NDArray[Any]], NDArray[np.bool_]]
    iter_overlaps: Callable[[Boxes, Boxes, MatchSettings], Iterator[Overlaps]]
    measures: tuple[str, ...] = ()

    def check(self, settings: MatchSettings, *boxes: NDArray[Any]) -> None:
        """Refuse what is of another kind.

        Raises:
            InputError: If boxes have another width.
            ConfigError: If overlap is to mean what it cannot.
        """
        for box in boxes:
            if box.shape[1] != self.width:
                raise InputError(f"box: expected shape (U, {self.width}), {self.form}, got {box.shape}")
        named = {settings.measure, *settings.measure_by_class.values()} - {None, *self.measures}
        if named:
            raise ConfigError(
                f"measure: boxes in 3D are compared by {', '.join(MEASURES)}, these, {self.form}, "
                f"by intersection over union only; leave measure {min(map(str, named))!r} out"
            )


def _iter_flat(first: Boxes, second: Boxes, settings: MatchSettings) -> Iterator[Overlaps]:
    return iter_overlaps(first.input_index, first.box, second.input_index, second.box)


def _iter_upright(first: Boxes, second: Boxes, settings: MatchSettings) -> Iterator[Overlaps]:
    """Overlaps by the measure of each pair's class; shares are of volumes with ``iou_3d``, else seen from above."""
    measure, reach = settings.measured_by(second.label), settings.reach(second.label)
    areas, other_areas = bev_areas(first.box), bev_areas(second.box)
    volumes, other_volumes = box_volumes(first.box), box_volumes(second.box)
    spaces = iter_shared_space(first.input_index, first.box, second.input_index, second.box, reach)
    for space in spaces:
        one, other, by = space.first, space.second, measure[space.second]
        solid = by == MEASURES.index("iou_3d")
        shared = np.where(solid, space.area * space.height, space.area)
        whole = np.where(solid, volumes[one], areas[one])
        other_whole = np.where(solid, other_volumes[other], other_areas[other])
        overlap = shared / (whole + other_whole - shared)
        near = np.flatnonzero(by == MEASURES.index("distance"))
        overlap[near] = np.maximum(1.0 - space.distance[near] / reach[other[near]], 0.0)
        found = Overlaps(one, other, overlap, shared / whole, shared / other_whole)
        yield found.rows((overlap > 0) | (shared > 0))


BOXES_2D: Final = BoxKind(4, "x1 y1 x2 y2 in pixels", has_area, _iter_flat)
"""Axis-aligned boxes of images, compared by intersection over union."""

BOXES_3D: Final = BoxKind(7, "x y z dx dy dz yaw in metres and radians", has_volume, _iter_upright, MEASURES)
"""Upright boxes of point clouds, compared by what the settings say."""
