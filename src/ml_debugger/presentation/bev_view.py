"""From metres seen from above to pixels: forward (+x) is up, left (+y) is left, as a driver sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes_3d import bev_corners
from ml_debugger.presentation.box_shapes import Box, Rectangle

__all__ = ["View", "look_at", "overlook", "round_step"]

Float64 = NDArray[np.float64]

_AROUND: Final = 2.0  # the part shown is so much larger than the boxes it is about
_BESIDE: Final = 7.0  # and so many metres more: what else is there
_MARGIN: Final = 1.14
_FEW: Final = 100  # points that do not tell how far a scene reaches


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of the ground in a rectangle of a picture.

    Attributes:
        centre: x and y in its middle, metres.
        scale: Pixels per metre.
        frame: Left, top, right and bottom in the picture, pixels.
    """

    centre: tuple[float, float]
    scale: float
    frame: Rectangle

    @property
    def reach(self) -> tuple[float, float]:
        """Half the height and half the width: along x and along y, metres."""
        left, top, right, bottom = self.frame
        return (bottom - top) / 2 / self.scale, (right - left) / 2 / self.scale

    def pixels(self, places: NDArray[Any]) -> Float64:
        """``(..., 2)`` x and y on the ground to ``(..., 2)`` pixels from the left and from the top."""
        left, top, right, bottom = self.frame
        ahead, beside = places[..., 0] - self.centre[0], places[..., 1] - self.centre[1]
        across, down = (left + right) / 2 - beside * self.scale, (top + bottom) / 2 - ahead * self.scale
        return np.stack([across, down], axis=-1)

    def outline(self, box: Box) -> Float64:
        """``(4, 2)`` corners of a box in pixels, the front left one first."""
        return self.pixels(bev_corners(np.array([box]))[0])

    def around(self, box: Box) -> Float64:
        """``(4,)`` the upright rectangle around a box: left, top, right and bottom in pixels, within the frame."""
        corners, limit = self.outline(box), np.array(self.frame)
        low, high = limit[:2], limit[2:]
        return np.concatenate([np.clip(corners.min(axis=0), low, high), np.clip(corners.max(axis=0), low, high)])

    def shows(self, places: NDArray[Any]) -> NDArray[np.bool_]:
        """``(N,)`` whether each of ``(N, 2)`` places lies in the view."""
        ahead, beside = self.reach
        return np.asarray(
            (np.abs(places[:, 0] - self.centre[0]) <= ahead) & (np.abs(places[:, 1] - self.centre[1]) <= beside)
        )

    @property
    def origin(self) -> tuple[float, float]:
        """Where the sensor is, in pixels."""
        across, down = self.pixels(np.zeros(2))
        return float(across), float(down)

    def rings(self, most: int) -> list[float]:
        """Round distances from the origin that occur in the view, at most so many, metres."""
        pairs = list(zip(self.centre, self.reach, strict=True))
        near = math.hypot(*(max(abs(at) - reach, 0.0) for at, reach in pairs))
        far = math.hypot(*(abs(at) + reach for at, reach in pairs))
        step = round_step(far - near, most)
        first = max(math.ceil(near / step), 1)
        return [step * number for number in range(first, math.floor(far / step) + 1)]

    def exits(self, radius: float, size: tuple[float, float]) -> Iterator[tuple[float, float]]:
        """Where a text of some size may stand at the places where a ring leaves the view: its left and top, pixels."""
        left, top, right, bottom = self.frame
        (across, down), reach = self.origin, radius * self.scale
        for side in (left, right):
            for way in (-1.0, 1.0):
                rise = reach**2 - (side - across) ** 2
                at = down + way * math.sqrt(max(rise, 0.0))
                if rise >= 0 and top <= at <= bottom - size[1]:
                    yield (side + 4.0 if side == left else side - size[0] - 4.0), at
        for side in (bottom, top):
            for way in (-1.0, 1.0):
                run = reach**2 - (side - down) ** 2
                at = across + way * math.sqrt(max(run, 0.0))
                if run >= 0 and left <= at <= right - size[0]:
                    yield at + 4.0, (side + 2.0 if side == top else side - size[1] - 2.0)


def look_at(boxes: list[Box], size: tuple[int, int]) -> View:
    """The view that shows boxes large and what is around them, for a picture of some width and height."""
    corners = bev_corners(np.array(boxes)).reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    span = _AROUND * (high - low) + _BESIDE
    scale = min(size[1] / span[0], size[0] / span[1])
    return View(_middle(low, high), float(scale), (0.0, 0.0, float(size[0]), float(size[1])))


def overlook(part: View, boxes: list[Box], points: NDArray[Any], frame: Rectangle) -> View:
    """The view of a whole scene in a part of a picture.

    Args:
        part: A view that it holds, beside the origin.
        boxes: Where there are few points, it holds all boxes.
        points: ``(N, 2)``, of which it holds nearly all.
        frame: Left, top, right and bottom of the part of the picture, pixels.
    """
    middle, reach = np.array(part.centre), np.array(part.reach)
    places = np.stack([np.zeros(2), middle - reach, middle + reach])
    if len(points) >= _FEW:  # a box gone astray must not shrink what the sensor saw
        places = np.concatenate([places, np.quantile(points, (0.005, 0.995), axis=0)])
    else:
        places = np.concatenate([places, points, bev_corners(np.array(boxes)).reshape(-1, 2)])
    low, high = places.min(axis=0), places.max(axis=0)
    span = _MARGIN * (high - low)
    scale = min((frame[3] - frame[1]) / span[0], (frame[2] - frame[0]) / span[1])
    return View(_middle(low, high), float(scale), frame)


def round_step(span: float, most: int) -> float:
    """The least of 1, 2, 5, 10, ... that divides a span into at most so many parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(times * power for times in (1.0, 2.0, 5.0, 10.0) if span <= most * times * power * (1 + 1e-9))


def _middle(low: Float64, high: Float64) -> tuple[float, float]:
    return float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2
