"""What a picture from above does not show of a box in 3D, in words."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.presentation.examples import Example

__all__ = ["frame_facts"]

_LEVEL: Final = 0.1  # metres of height between two boxes that go without saying


def frame_facts(points: NDArray[Any] | None, example: Example) -> str:
    """Distance from the sensor, sizes, points inside and how high the box is beside its annotation.

    Args:
        points: ``(N, 3)`` x y z in metres; None where there are none.
        example: The box.
    """
    x, y, z, *sizes, _ = example.box
    said = [f"{math.hypot(x, y):.1f} m away", " x ".join(f"{size:.1f}" for size in sizes) + " m"]
    if points is not None:
        count = len(points_in_boxes(points, np.array([example.box]))[0])
        said.append(f"{count:,} point{'' if count == 1 else 's'}")
    partner = example.partner
    if partner is not None and not example.missed and abs(z - partner.box[2]) >= _LEVEL:
        above = z - partner.box[2]
        said.append(f"{abs(above):.1f} m too {'high' if above > 0 else 'low'}")
    return ", ".join(said)
