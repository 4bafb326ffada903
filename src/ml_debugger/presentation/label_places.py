"""Where texts stand in a picture: at the corners of boxes, off each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ml_debugger.presentation.box_shapes import Rectangle, overlap

__all__ = ["CORNERS", "FONT_SIZE", "PADDING", "Label", "LabelPlaces"]

FONT_SIZE: Final = 17
PADDING: Final = 5
_LETTER: Final = 11.5  # about the width of a letter

CORNERS: Final = {  # of a box: whether a label there is at the right end, and above
    "BOTTOM_LEFT": (False, False),
    "BOTTOM_RIGHT": (True, False),
    "TOP_LEFT": (False, True),
    "TOP_RIGHT": (True, True),
}


@dataclass(frozen=True, slots=True)
class Label:
    """A text in a picture.

    Attributes:
        box: ``(4,)`` the rectangle that it belongs to, pixels of the picture.
        text: What it says.
        colour: Of its background.
        corner: At which corner of the rectangle it stands.
        place: The rectangle that it takes up.
    """

    box: np.ndarray
    text: str
    colour: str
    corner: str
    place: Rectangle


class LabelPlaces:
    """Texts at the corners of boxes, each where it covers no other one.

    Args:
        size: Width and height of the picture in pixels.
        taken: Rectangles where no text may stand.
    """

    def __init__(self, size: tuple[int, int], taken: Iterable[Rectangle] = ()) -> None:
        self._size = size
        self._taken = list(taken)
        self._added: list[Label] = []

    @property
    def labels(self) -> list[Label]:
        """The labels that found a place, in the order in which they are drawn: the first one last, on top."""
        return self._added[::-1]

    def add(self, box: np.ndarray, text: str, colour: str, corners: Iterable[str] = tuple(CORNERS)) -> None:
        """A text at the first of some corners of a box that is free; where none is, it is left out.

        The first text of all is never left out.
        """
        width, height = _LETTER * len(text) + 2 * PADDING, FONT_SIZE + 2 * PADDING
        places = {corner: self._place(box, corner, width, height) for corner in corners}
        free = [corner for corner, place in places.items() if self.is_free(place)]
        if not free and self._added:
            return
        corner = free[0] if free else next(iter(places))
        self.take(places[corner])
        self._added.append(Label(box, text, colour, corner, places[corner]))

    def take(self, place: Rectangle) -> None:
        """Let no further text stand in a rectangle."""
        self._taken.append(place)

    def is_free(self, place: Rectangle) -> bool:
        """Whether nothing stands in a rectangle yet."""
        return all(overlap(place, one) == 0 for one in self._taken)

    def _place(self, box: np.ndarray, corner: str, width: float, height: float) -> Rectangle:
        """Where supervision puts a label too, moved into the picture."""
        at_right, above = CORNERS[corner]
        left = float(box[2]) - width if at_right else float(box[0])
        top = float(box[1]) - height if above else float(box[3])
        left, top = min(max(left, 0.0), self._size[0] - width), min(max(top, 0.0), self._size[1] - height)
        return left, top, left + width, top + height
