"""What matching needs to know of boxes: of images, and of point clouds; another kind is another value of `BoxKind`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import (
    SMALLEST_IOU,
    ClosePairs,
    Overlaps,
    PredictedBoxes,
    TrueBoxes,
    box_areas,
    find_close_pairs,
    has_area,
    iou_matrix,
    iter_overlaps,
)
from ml_debugger.analysis.boxes_3d import box_volumes, has_volume, iter_shared_space
from ml_debugger.analysis.match_settings import MEASURES, MatchSettings
from ml_debugger.errors import ConfigError, InputError

__all__ = ["BOXES_2D", "BOXES_3D", "BoxKind", "Spread"]

Boxes = PredictedBoxes | TrueBoxes
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spread:
    """How far apart candidates of one object are: the mean of the standard deviations of some numbers, in a unit.

    Attributes:
        values: ``(P, width)`` candidates and ``(P, width)`` kept boxes to ``(P, S)`` numbers.
        unit: ``(U, width)`` kept boxes to ``(U,)``; 0 where there is none.
    """

    values: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    unit: Callable[[NDArray[Any]], Float64]


@dataclass(frozen=True, slots=True)
class BoxKind:
    """What matching, and looking at candidates, need to know of boxes.

    Attributes:
        width: Numbers of a box.
        form: What they are, for messages.
        covers: ``(U, width)`` boxes to ``(U,)`` bool, whether each covers something.
        iter_overlaps: First boxes, second boxes and settings to all pairs of the same image that overlap or share
            something, in order, in pieces. Where overlap means something else class by class, the second boxes' decide.
        iou_matrix: ``(U, width)`` and ``(G, width)`` boxes to ``(U, G)`` overlaps by which one suppresses another.
        close_pairs: Pairs of boxes of the same image that overlap so by at least as much, as `find_close_pairs`.
        same_object: From which such overlap on two boxes stand for one object, where nothing else is known.
        spreads: How far apart candidates of one object are, in the order of the columns of ``context``.
        measures: What overlap can mean; none where it always means the same.
    """

    width: int
    form: str
    covers: Callable[[NDArray[Any]], NDArray[np.bool_]]
    iter_overlaps: Callable[[Boxes, Boxes, MatchSettings], Iterator[Overlaps]]
    iou_matrix: Callable[[NDArray[Any], NDArray[Any]], Float64]
    close_pairs: Callable[[Int64, NDArray[Any], Int64, NDArray[Any], float], ClosePairs]
    same_object: float
    spreads: tuple[Spread, ...]
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
    spaces = iter_shared_space(first.input_index, first.box, second.input_index, second.box, reach)
    for space in spaces:
        one, other, by = space.first, space.second, measure[space.second]
        solid = by == MEASURES.index("iou_3d")
        shared = np.where(solid, space.area * space.height, space.area)
        # boxes that cover nothing are in no pair
        sizes, other_sizes = (
            boxes.box[rows, 3:6].astype(np.float64) for boxes, rows in ((first, one), (second, other))
        )
        whole = np.where(solid, sizes.prod(axis=1), sizes[:, 0] * sizes[:, 1])
        other_whole = np.where(solid, other_sizes.prod(axis=1), other_sizes[:, 0] * other_sizes[:, 1])
        overlap = shared / (whole + other_whole - shared)
        near = np.flatnonzero(by == MEASURES.index("distance"))
        overlap[near] = np.maximum(1.0 - space.distance[near] / reach[other[near]], 0.0)
        found = Overlaps(one, other, overlap, shared / whole, shared / other_whole)
        yield found.rows((overlap > 0) | (shared > 0))


def _close_pairs_from_above(
    first_index: Int64, first: NDArray[Any], second_index: Int64, second: NDArray[Any], least: float
) -> ClosePairs:
    """As `find_close_pairs`, of ``(U, 7)`` and ``(G, 7)`` boxes seen from above."""
    parts = [(np.empty(0, dtype=np.int64),) * 2 + (np.empty(0),)]
    for space in iter_shared_space(first_index, first, second_index, second):
        # boxes that cover nothing are in no pair
        sides, other_sides = first[space.first, 3:5].astype(np.float64), second[space.second, 3:5].astype(np.float64)
        iou = space.area / (sides[:, 0] * sides[:, 1] + other_sides[:, 0] * other_sides[:, 1] - space.area)
        near = np.flatnonzero(iou >= max(least, SMALLEST_IOU))
        parts.append((space.first[near], space.second[near], iou[near]))
    return ClosePairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _iou_matrix_from_above(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    one_frame = (np.zeros(len(boxes), dtype=np.int64) for boxes in (first, second))
    pairs = _close_pairs_from_above(next(one_frame), first, next(one_frame), second, 0.0)
    found = np.zeros((len(first), len(second)))
    found[pairs.first, pairs.second] = pairs.iou
    return found


def _turn(boxes: NDArray[Any], kept: NDArray[Any]) -> NDArray[Any]:
    """``(P, 1)`` radians from the kept box's axis to the other's: a box and its half turn cover the same."""
    turn = boxes[:, 6:].astype(np.float64) - kept[:, 6:]
    return np.asarray((turn + np.pi / 2) % np.pi - np.pi / 2)


_SIDES: Final = Spread(lambda boxes, kept: boxes, lambda kept: np.sqrt(box_areas(kept)))
_SIZES: Final = Spread(lambda boxes, kept: boxes[:, 3:6], lambda kept: np.cbrt(box_volumes(kept)))
_YAW: Final = Spread(_turn, lambda kept: np.ones(len(kept)))

BOXES_2D: Final = BoxKind(
    width=4,
    form="x1 y1 x2 y2 in pixels",
    covers=has_area,
    iter_overlaps=_iter_flat,
    iou_matrix=iou_matrix,
    close_pairs=find_close_pairs,
    same_object=0.5,
    spreads=(_SIDES,),
)
"""Axis-aligned boxes of images, compared by intersection over union."""

BOXES_3D: Final = BoxKind(
    width=7,
    form="x y z dx dy dz yaw in metres and radians",
    covers=has_volume,
    iter_overlaps=_iter_upright,
    iou_matrix=_iou_matrix_from_above,
    close_pairs=_close_pairs_from_above,
    same_object=0.1,  # solid things do not stand in each other: detectors suppress from .01 to .2 on
    spreads=(_SIZES, _YAW),
    measures=MEASURES,
)
"""Upright boxes of point clouds, compared by what the settings say; seen from above where one suppresses another."""
