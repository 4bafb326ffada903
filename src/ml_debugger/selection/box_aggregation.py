"""From the boxes of an image to one value: the same numbers, to the last bit, for a batch and for a pool of millions.

Every sum runs over one image alone, in one order: falling value, then position. So neither the rows around an image nor
the engine that sorted them has a part in its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aggregated", "Boxes", "aggregate_boxes", "box_order", "image_values"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# Up to here one sort of all is the quickest.
FEW: Final = 4096
# Images of one size that are sorted at a time, which bounds the memory of it.
AT_A_TIME: Final = 65_536
# Boxes of whole images that are worked on at a time: what a processor's cache holds, so that time grows as the pool.
BLOCK: Final = 131_072


@dataclass(frozen=True, slots=True)
class Aggregated:
    """One entry per image that has a box.

    Attributes:
        first: ``(I,)`` row of the image's box with the greatest value.
        value: ``(I,)``.
    """

    first: Int64
    value: Float64


@dataclass(frozen=True, slots=True)
class Boxes:
    """N boxes that count, in any order.

    Attributes:
        image: ``(N,)`` int64.
        unit: ``(N,)`` int64, different for the boxes of an image.
        value: ``(N,)``, no NaN.
        weight: ``(N,)`` greater than 0, or None for equal weights.
    """

    image: Int64
    unit: Int64
    value: Float64
    weight: Float64 | None = None

    def rows(self, chosen: NDArray[np.int64] | slice) -> Boxes:
        """Some of the boxes."""
        weight = None if self.weight is None else self.weight[chosen]
        return Boxes(self.image[chosen], self.unit[chosen], self.value[chosen], weight)


def image_values(boxes: Boxes, *, top_n: int | None = None, median: bool = False) -> Aggregated:
    """The value of each image, ascending; ``first`` are positions among the boxes as given.

    Args:
        boxes: Of all images.
        top_n: How many of each image count, those of the greatest values; None for all.
        median: Instead of the mean.
    """
    stored = None if _is_stored_order(boxes.image, boxes.unit) else np.lexsort((boxes.unit, boxes.image))
    if stored is not None:
        boxes = boxes.rows(stored)
    first, value = [np.zeros(0, np.int64)], [np.zeros(0)]
    for low, high in _blocks(boxes.image):
        part = boxes.rows(slice(low, high))
        order = box_order(part.image, part.value, part.unit)
        part = part.rows(order)
        found = aggregate_boxes(part.image, part.value, part.weight, top_n=top_n, median=median)
        first.append(low + order[found.first])
        value.append(found.value)
    best = np.concatenate(first)
    return Aggregated(best if stored is None else stored[best], np.concatenate(value))


def _blocks(image: Int64) -> Iterator[tuple[int, int]]:
    """Ranges of about `BLOCK` of ``(N,)`` ascending images, none of which is cut."""
    low = 0
    while low < len(image):
        high = min(low + BLOCK, len(image))
        if high < len(image):
            high = int(np.searchsorted(image, image[high], side="left"))
            if high == low:  # one image with more boxes than that
                high = int(np.searchsorted(image, image[low], side="right"))
        yield low, high
        low = high


def box_order(image: Int64, value: Float64, unit: Int64) -> Int64:
    """``(N,)`` positions of boxes by image, falling value, unit.

    Stored boxes of an image lie together, in the order of their units. So a pool needs no sort of all its boxes: those
    of each image are sorted among themselves, all images with the same number of boxes at once.

    Args:
        image: ``(N,)`` int64.
        value: ``(N,)``, no NaN.
        unit: ``(N,)`` int64, different for the boxes of an image.
    """
    if len(image) <= FEW:
        return np.asarray(np.lexsort((unit, -value, image)))
    order = np.arange(len(image)) if _is_stored_order(image, unit) else np.lexsort((unit, image))
    first = _firsts(image[order])
    rising = -value[order]
    for count, starts in _of_one_size(first, np.diff(first, append=len(image))):
        rows = starts[:, None] + np.arange(count)
        within = np.argsort(rising[rows], axis=1, kind="stable")
        order[rows] = np.take_along_axis(order[rows], within, axis=1)
    return np.asarray(order)


def _is_stored_order(image: Int64, unit: Int64) -> bool:
    same = image[1:] == image[:-1]
    return bool(((image[1:] > image[:-1]) | (same & (unit[1:] > unit[:-1]))).all())


def _firsts(image: Int64) -> Int64:
    """Positions at which another image begins."""
    return np.flatnonzero(np.r_[True, image[1:] != image[:-1]]) if len(image) else np.zeros(0, np.int64)


def _of_one_size(first: Int64, size: Int64) -> Iterator[tuple[int, Int64]]:
    """Sizes above 1, and the first positions of up to `AT_A_TIME` images of that size."""
    by_size = np.argsort(size, kind="stable")
    sizes, at = np.unique(size[by_size], return_index=True)
    for count, low, high in zip(sizes.tolist(), at, [*at[1:], len(size)], strict=True):
        for start in range(low, high if count > 1 else low, AT_A_TIME):
            yield count, first[by_size[start : min(start + AT_A_TIME, high)]]


def aggregate_boxes(
    image: Int64, value: Float64, weight: Float64 | None, *, top_n: int | None = None, median: bool = False
) -> Aggregated:
    """Mean or median of the greatest values of each image.

    The weighted median is the value at which half of the weight is reached, counted from above; where that is exactly
    between two values it is their mean, so that equal weights give the common median.

    Args:
        image: ``(N,)`` ascending.
        value: ``(N,)`` falling within an image, no NaN.
        weight: ``(N,)`` greater than 0, or None for equal weights.
        top_n: How many of each image count; None for all.
        median: Instead of the mean.
    """
    first = _firsts(image)
    if not len(first):
        return Aggregated(first, np.zeros(0))
    size = np.diff(first, append=len(image))
    if top_n is not None:
        place = np.arange(len(image)) - np.repeat(first, size)
        kept = place < top_n
        value, weight = value[kept], None if weight is None else weight[kept]
        size = np.minimum(size, top_n)
    start = np.cumsum(size) - size
    if not median:
        return Aggregated(first, _mean(value, weight, start, size))
    if weight is None:
        return Aggregated(first, (value[start + (size - 1) // 2] + value[start + size // 2]) / 2.0)
    return Aggregated(first, _weighted_median(value, weight, start, size))


def _mean(value: Float64, weight: Float64 | None, start: Int64, size: Int64) -> Float64:
    if weight is None:
        return np.asarray(np.add.reduceat(value, start) / size)
    return np.asarray(np.add.reduceat(value * weight, start) / np.add.reduceat(weight, start))


def _weighted_median(value: Float64, weight: Float64, start: Int64, size: Int64) -> Float64:
    reached = _sums_within(weight, start, size)
    half = np.repeat(reached[start + size - 1] / 2.0, size)
    image = np.repeat(np.arange(len(size)), size)
    total = np.zeros(len(size))
    for row in (np.flatnonzero(reached >= half), np.flatnonzero(reached > half)):
        total += value[row[np.diff(image[row], prepend=-1) > 0]]
    return total / 2.0


def _sums_within(weight: Float64, start: Int64, size: Int64) -> Float64:
    """``(N,)`` running sums that begin anew with each image; one over all would carry rounding from image to image."""
    order = np.argsort(-size, kind="stable")
    starts, sizes = start[order], size[order]
    sums = weight.copy()
    for place in range(1, int(sizes[0])):
        rows = starts[: np.searchsorted(-sizes, -place)] + place
        sums[rows] += sums[rows - 1]
    return sums
