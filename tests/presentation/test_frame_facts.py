"""What a picture from above does not show is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ml_debugger.presentation.examples import Neighbour
from ml_debugger.presentation.frame_facts import frame_facts
from tests.helpers.examples import CAR, EXAMPLE_3D, MISSED_3D


def test_distance_size_points_and_height():
    points = np.array([CAR[:3], (12.1, 5.0, -0.8), (12.0, 5.0, 4.0)])
    assert frame_facts(points, EXAMPLE_3D) == "13.0 m away, 4.0 x 1.8 x 1.5 m, 2 points, 0.3 m too high"
    assert frame_facts(None, EXAMPLE_3D) == "13.0 m away, 4.0 x 1.8 x 1.5 m, 0.3 m too high"
    assert frame_facts(points[:1], MISSED_3D) == "13.0 m away, 4.0 x 1.8 x 1.5 m, 1 point"
    assert frame_facts(points[:0], MISSED_3D).endswith(", 0 points")


def test_height_beside_the_annotation():
    def said(z):
        return frame_facts(None, replace(EXAMPLE_3D, truths=(Neighbour((*CAR[:2], z, *CAR[3:]), 123),)))

    assert said(CAR[2] + 0.5).endswith(", 0.5 m too low")
    assert said(CAR[2] + 0.05).endswith("1.5 m")
    assert "too" not in frame_facts(None, replace(MISSED_3D, truths=(Neighbour((*CAR[:2], 3.0, *CAR[3:]), 123),)))
    other_class = replace(EXAMPLE_3D, truths=(Neighbour((*CAR[:2], 3.0, *CAR[3:]), 5),))
    assert "too" not in frame_facts(None, other_class)
