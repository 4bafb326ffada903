"""Boxes of many images as arrays; of axis-aligned ones areas, overlaps, and which of one image overlap.

A box of an image is ``x1 y1 x2 y2`` in pixels; those of a point cloud are `ml_debugger.analysis.boxes_3d`'s. A box
covers something if its four numbers are finite, ``x1 < x2`` and ``y1 < y2``; any other has area 0 and overlaps nothing,
not even itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError

__all__ = [
    "ClosePairs",
    "Overlaps",
    "PredictedBoxes",
    "TrueBoxes",
    "box_areas",
    "clip_boxes",
    "find_close_pairs",
    "find_overlaps",
    "has_area",
    "iou_matrix",
    "iter_overlaps",
    "iter_ranges",
    "join_overlaps",
    "pairs_of_images",
    "run_starts",
]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

MAX_PAIRS: Final = 100_000
"""Pairs of boxes that are compared at a time: what a processor's cache holds; the result does not depend on it."""

WIDTHS: Final = (4, 7)
"""Numbers of a box in an image, and in a point cloud."""

SMALLEST_IOU: Final = 5e-324
"""The least number above 0: boxes that share nothing are no pair, whatever overlap is asked for."""


@dataclass(frozen=True, slots=True)
class PredictedBoxes:
    """U predicted boxes of many images.

    Attributes:
        input_index: ``(U,)`` int64, which image each belongs to: any integers, in any order.
        box: ``(U, 4)``, or ``(U, 7)`` in 3D.
        label: ``(U,)`` int64.
        score: ``(U,)``.

    Raises:
        InputError: If lengths or widths do not fit together.
    """

    input_index: Int64
    box: NDArray[np.floating[Any]]
    label: Int64
    score: NDArray[np.floating[Any]]

    def __post_init__(self) -> None:
        _check_lengths(self)

    def __len__(self) -> int:
        return len(self.input_index)


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """G annotated boxes of many images.

    Attributes:
        input_index: ``(G,)`` int64, which image each belongs to.
        box: ``(G, 4)``, or ``(G, 7)`` in 3D.
        label: ``(G,)`` int64; -1 for a region to be ignored whatever is predicted there.
        ignored: ``(G,)`` bool, whether it is a crowd or a region to be ignored, not an object to be found.

    Raises:
        InputError: If lengths or widths do not fit together.
    """

    input_index: Int64
    box: NDArray[np.floating[Any]]
    label: Int64
    ignored: Bool

    def __post_init__(self) -> None:
        _check_lengths(self)

    def __len__(self) -> int:
        return len(self.input_index)


def _check_lengths(boxes: PredictedBoxes | TrueBoxes) -> None:
    count = len(boxes.input_index)
    for field in fields(boxes):
        allowed = [(count, width) for width in WIDTHS] if field.name == "box" else [(count,)]
        got = getattr(boxes, field.name).shape
        if got not in allowed:
            expected = " or in 3D ".join(map(str, allowed))
            raise InputError(f"{field.name}: expected shape {expected}, one entry per box, got {got}")


def has_area(boxes: NDArray[Any]) -> Bool:
    """``(U,)`` whether each of ``(U, 4)`` boxes covers something: finite, and larger than a line or a point."""
    x1, y1, x2, y2 = boxes.T
    return np.asarray(np.isfinite(boxes).all(axis=1) & (x1 < x2) & (y1 < y2))


def box_areas(boxes: NDArray[Any]) -> Float64:
    """``(U,)`` areas of ``(U, 4)`` boxes; 0 for those that cover nothing."""
    x1, y1, x2, y2 = np.where(has_area(boxes)[:, None], boxes, 0.0).astype(np.float64).T
    return np.asarray((x2 - x1) * (y2 - y1))


def clip_boxes(boxes: NDArray[Any], width: NDArray[Any] | float, height: NDArray[Any] | float) -> Float64:
    """``(U, 4)`` boxes cut at the border of their image; NaN stays, and a NaN width or height cuts nothing.

    Args:
        boxes: ``(U, 4)``.
        width: Of the image in pixels, or ``(U,)``.
        height: Likewise.
    """
    limits = np.empty((len(boxes), 4))
    limits[:, 0::2] = np.asarray(width, dtype=np.float64)[..., None]
    limits[:, 1::2] = np.asarray(height, dtype=np.float64)[..., None]
    clipped = np.minimum(np.maximum(boxes, 0.0), limits)
    return np.asarray(np.where(np.isnan(limits), boxes, clipped), dtype=np.float64)


def iou_matrix(first: NDArray[Any], second: NDArray[Any]) -> Float64:
    """``(U, G)`` intersection over union of ``(U, 4)`` and ``(G, 4)`` boxes; 0 where either covers nothing.

    >>> iou_matrix(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]]))
    array([[0.33333333, 1.        , 0.        ]])
    """
    x1, y1, x2, y2 = (side[:, None] for side in _sides(first))
    other_x1, other_y1, other_x2, other_y2 = _sides(second)
    shared = np.minimum(x2, other_x2) - np.maximum(x1, other_x1)
    height = np.minimum(y2, other_y2) - np.maximum(y1, other_y1)
    apart = ~((shared > 0) & (height > 0))
    shared *= height
    union = box_areas(first)[:, None] + box_areas(second)
    union -= shared
    shared[apart], union[apart] = 0.0, 1.0
    shared /= union
    return np.asarray(shared)


@dataclass(frozen=True, slots=True)
class ClosePairs:
    """P pairs of boxes of the same image that overlap enough.

    Attributes:
        first: ``(P,)`` int64, position of one box among the first ones; ascending.
        second: ``(P,)`` int64, position of the other among the second ones; ascending within ``first``.
        iou: ``(P,)`` intersection over union.
    """

    first: Int64
    second: Int64
    iou: Float64


def find_close_pairs(
    first_index: Int64, first: NDArray[Any], second_index: Int64, second: NDArray[Any], least: float
) -> ClosePairs:
    """All pairs of boxes of the same image with an intersection over union of at least ``least``, above 0.

    As :func:`find_overlaps`, but image by image in matrices: the quicker way for hundreds of boxes of few images.
    """
    rows, others = (np.argsort(index, kind="stable") for index in (first_index, second_index))
    images, starts = np.unique(first_index[rows], return_index=True)
    low, high = (np.searchsorted(second_index[others], images, side=side) for side in ("left", "right"))
    parts = [(np.empty(0, dtype=np.int64),) * 2 + (np.empty(0),)]
    for own, start, end in zip(np.split(rows, starts[1:]), low, high, strict=False):
        if start == end:
            continue
        theirs = others[start:end]
        iou = iou_matrix(first[own], second[theirs])
        at, beside = np.nonzero(iou >= max(least, SMALLEST_IOU))
        parts.append((own[at], theirs[beside], iou[at, beside]))
    one, other, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(one, kind="stable")
    return ClosePairs(one[order], other[order], overlap[order])


@dataclass(frozen=True, slots=True)
class Overlaps:
    """P pairs of boxes of the same image that share an area.

    Attributes:
        first: ``(P,)`` int64, position of one box among the first ones; ascending.
        second: ``(P,)`` int64, position of the other among the second ones; ascending within ``first``.
        iou: ``(P,)`` intersection over union.
        first_share: ``(P,)`` share of the first box's area that lies in the second.
        second_share: ``(P,)`` share of the second box's area that lies in the first.
    """

    first: Int64
    second: Int64
    iou: Float64
    first_share: Float64
    second_share: Float64

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, chosen: NDArray[Any]) -> Overlaps:
        """Some of the pairs, by mask or position."""
        return Overlaps(*(getattr(self, field.name)[chosen] for field in fields(self)))


def find_overlaps(first_index: Int64, first: NDArray[Any], second_index: Int64, second: NDArray[Any]) -> Overlaps:
    """All pairs of boxes of the same image that share an area.

    Args:
        first_index: ``(U,)`` image of each first box.
        first: ``(U, 4)``.
        second_index: ``(G,)`` image of each second box.
        second: ``(G, 4)``.
    """
    return join_overlaps(iter_overlaps(first_index, first, second_index, second))


def join_overlaps(parts: Iterable[Overlaps]) -> Overlaps:
    """All pairs of several pieces, in their order."""
    nothing = Overlaps(*(np.empty(0, dtype=np.int64),) * 2, *(np.empty(0),) * 3)
    parts = [nothing, *parts]
    return Overlaps(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Overlaps)))


def iter_overlaps(
    first_index: Int64, first: NDArray[Any], second_index: Int64, second: NDArray[Any]
) -> Iterator[Overlaps]:
    """The pairs of :func:`find_overlaps` in order, of some first boxes at a time: at most about `MAX_PAIRS`."""
    areas, other_areas = box_areas(first), box_areas(second)
    x1, y1, x2, y2 = _sides(first)
    other_x1, other_y1, other_x2, other_y2 = _sides(second)
    for one, other in pairs_of_images(first_index, second_index):
        width = np.minimum(x2[one], other_x2[other]) - np.maximum(x1[one], other_x1[other])
        beside = np.flatnonzero(width > 0)
        one, other, width = one[beside], other[beside], width[beside]
        shared = width * (np.minimum(y2[one], other_y2[other]) - np.maximum(y1[one], other_y1[other]))
        crossing = np.flatnonzero(shared > 0)
        one, other, shared = one[crossing], other[crossing], shared[crossing]
        area, other_area = areas[one], other_areas[other]
        yield Overlaps(one, other, shared / (area + other_area - shared), shared / area, shared / other_area)


def _sides(boxes: NDArray[Any]) -> tuple[Float64, ...]:
    """The columns; NaN for boxes that cover nothing, whose comparisons are all False."""
    return tuple(np.ascontiguousarray(np.where(has_area(boxes)[:, None], boxes, np.nan).astype(np.float64).T))


def pairs_of_images(first_index: Int64, second_index: Int64) -> Iterator[tuple[Int64, Int64]]:
    """Positions of all pairs with equal index, in order, at most `MAX_PAIRS` at a time, but whole first boxes."""
    order = np.argsort(second_index, kind="stable")
    ordered = second_index[order]
    start = np.searchsorted(ordered, first_index, side="left")
    counts = np.searchsorted(ordered, first_index, side="right") - start
    for rows, within in iter_ranges(counts):
        yield rows, order[start[rows] + within]


def run_starts(values: NDArray[Any]) -> Bool:
    """``(N,)`` whether each value is another than the one before it; the first is."""
    starts = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    return starts


def iter_ranges(counts: Int64) -> Iterator[tuple[Int64, Int64]]:
    """For each row the numbers 0, 1, ... below its count, at most `MAX_PAIRS` at a time, but whole rows.

    Args:
        counts: ``(R,)``.

    Yields:
        ``(K,)`` rows, ascending, and ``(K,)`` numbers, ascending within each row.
    """
    ends = np.cumsum(counts)
    low = 0
    while low < len(counts):
        done = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, done + MAX_PAIRS, side="right")), low + 1)
        sizes = counts[low:high]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        yield np.repeat(np.arange(low, high), sizes), within
        low = high
