"""How examples look, whatever they are drawn on: sizes, colours and words."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_debugger.presentation.examples import Example, Neighbour
from ml_debugger.presentation.palette import find_theme

__all__ = [
    "CANVAS",
    "HALO",
    "OTHER",
    "REGION",
    "TRUTH",
    "ClassNames",
    "Pixels",
    "find_colour",
    "headline",
    "label_truth",
    "name_class",
]

Pixels: TypeAlias = NDArray[np.uint8]
ClassNames: TypeAlias = Any
"""A sequence or mapping from class id to name, or None."""

CANVAS: Final = (560, 420)
"""Width and height of a picture in pixels; less where an image is narrower or lower."""

TRUTH: Final = "#12c46b"
OTHER: Final = "#f2f4f7"
REGION: Final = "#98a2b3"
HALO: Final = "#101828"


def find_colour(example: Example) -> str:
    """The colour of the box that an example is about: that of its zone; a missed object is annotated."""
    return TRUTH if example.zone is None else find_theme("light").zones[example.zone]


def name_class(label: int, class_names: ClassNames) -> str:
    """A class by name where names are given, else by number."""
    try:
        return str(label) if class_names is None else str(class_names[label])
    except (KeyError, IndexError):
        return str(label)


def headline(example: Example) -> str:
    """What stands at the box that an example is about: its error code, and how likely it is wrong."""
    proba = example.error_proba.get("error_proba")
    return example.code if proba is None else f"{example.code}  {proba:.0%}"


def label_truth(one: Neighbour, class_names: ClassNames) -> tuple[str, str]:
    """Text and colour at an annotated box."""
    text = f"{'ignored' if one.ignored else 'true'} {name_class(one.label, class_names)}"
    return text, REGION if one.ignored else TRUTH
