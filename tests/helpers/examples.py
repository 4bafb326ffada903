"""A wrong box and a missed object: on a grey image, and in a point cloud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ml_debugger.presentation.examples import Example, Neighbour

GREY = np.full((300, 400, 3), 120, np.uint8)
EXAMPLE = Example(
    input_id="street.jpg",
    box=(100.0, 80.0, 180.0, 160.0),
    code="DET:SG*:CLS123->456",
    zone="critical_hotspot",
    is_error=True,
    label=456,
    truth=123,
    score=0.44,
    error_proba={"error_proba": 0.91, "det_error_proba": 0.85, "cls_error_proba": 0.12},
    truths=(Neighbour((110.0, 90.0, 200.0, 170.0), 123), Neighbour((20.0, 20.0, 60.0, 60.0), 7, ignored=True)),
    others=(Neighbour((90.0, 80.0, 150.0, 150.0), 2),),
    size=(400, 300),
)
MISSED = replace(
    EXAMPLE, code="DET:NP:CLS123->", zone=None, label=None, score=None, error_proba={}, truths=(), others=()
)

# A car ahead and to the left, half a metre beside its annotation and a little above it, turned by a quarter.
CAR = (12.0, 5.0, -0.9, 4.0, 1.8, 1.5, 0.6)
EXAMPLE_3D = replace(
    EXAMPLE,
    input_id="000134",
    box=CAR,
    truths=(
        Neighbour((12.5, 5.0, -1.2, 4.2, 1.8, 1.5, 0.5), 123),
        Neighbour((30.0, -9.0, -1.0, 8.0, 3.0, 3.0, 0.0), 7, ignored=True),
    ),
    others=(Neighbour((14.0, 1.0, -1.0, 0.8, 0.8, 1.7, 0.0), 2),),
    size=None,
)
MISSED_3D = replace(MISSED, input_id="000134", box=CAR, size=None)


def ring_of_points(radius: float = 20.0, count: int = 720, height: float = -1.7) -> np.ndarray:
    """``(N, 3)`` points on a circle around the sensor."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(count, height)], axis=1)
