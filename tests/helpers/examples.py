"""A wrong box and a missed object on a grey image."""

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
