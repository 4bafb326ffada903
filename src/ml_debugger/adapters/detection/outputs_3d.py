"""Reading 3D boxes: OpenPCDet's dicts, mmdetection3d's samples and dicts, torchvision-like dicts of ``(U, 7)``.

Each is known by what it offers, so neither library is imported. Boxes become geometric centre, sizes and yaw with z up,
see `ml_debugger.analysis.box_conventions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import to_float32
from ml_debugger.adapters.detection.outputs import OutputForm
from ml_debugger.analysis.box_conventions import (
    BOX_WIDTH,
    ROW_WIDTHS,
    describe_rows,
    from_box_object,
    is_box_object,
)
from ml_debugger.errors import CaptureError, InputError

__all__ = ["FRAME_FORM"]

# How far a size may fall below 0 by rounding alone (half precision).
SIZE_SLACK: Final = 1e-2

# What the boxes, labels and scores of a frame are called: OpenPCDet, mmdetection3d since 1.0 and before, torchvision.
NAMES: Final = (
    ("pred_boxes", "pred_labels", "pred_scores"),
    ("bboxes_3d", "labels_3d", "scores_3d"),
    ("boxes_3d", "labels_3d", "scores_3d"),
    ("boxes", "labels", "scores"),
)
BESIDE: Final = ("features", "logits", "candidates")
# Where mmdetection3d keeps them: a Det3DDataSample, and the dicts of detectors of points and of images before 1.0.
INSIDE: Final = ("pred_instances_3d", "pts_bbox", "img_bbox")

_FORMS: Final = (
    "a list with one entry per frame: an OpenPCDet dict of pred_boxes (U, 7), pred_scores (U,) and pred_labels (U,), a "
    "Det3DDataSample with pred_instances_3d, or a dict of bboxes_3d, scores_3d and labels_3d, or of boxes (U, 7), "
    "labels (U,) and scores (U,)"
)


def _inputs(output: Any) -> Any:
    """The list of predictions of OpenPCDet, which returns a record of recall beside it, and losses in training mode."""
    if isinstance(output, tuple) and output and isinstance(output[0], Mapping) and "loss" in output[0]:
        raise CaptureError("model output: losses, as in training mode; call model.eval() before the model is traced")
    is_pair = isinstance(output, tuple) and len(output) == 2
    if is_pair and isinstance(output[0], list | tuple) and isinstance(output[1], Mapping) and _parts(output[1]) is None:
        return output[0]
    return output


def _parts(entry: Any) -> dict[str, Any] | None:
    """The boxes of one frame by name; None where the entry is of no known form."""
    for name in INSIDE:
        inner = _get(entry, name)
        if inner is not None:
            return _parts(inner)
    names = next((names for names in NAMES if _get(entry, names[0]) is not None), None)
    if names is None:
        return None
    found = {ours: _get(entry, theirs) for ours, theirs in zip(("boxes", "labels", "scores"), names, strict=True)}
    found["first_label"] = int(names[0] == "pred_boxes")  # OpenPCDet's labels begin at 1
    return found | {name: _get(entry, name) for name in BESIDE}


def _get(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _boxes(value: Any, where: str) -> NDArray[np.float32]:
    if is_box_object(value):
        return from_box_object(value, to_float32, where)
    rows = to_float32(value)
    if rows.size == 0:
        return np.zeros((0, BOX_WIDTH), dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] not in ROW_WIDTHS:
        raise InputError(f"{where}: expected {describe_rows('U', rows.shape)}")
    return rows[:, :BOX_WIDTH]


def _check_boxes(boxes: NDArray[np.float32], where: str) -> None:
    negative = np.flatnonzero((boxes[:, 3:6] < -SIZE_SLACK).any(axis=1))
    if len(negative):
        raise InputError(
            f"{where}: expected sizes dx dy dz of at least 0, got {boxes[negative[0], 3:6].tolist()} at position "
            f"{negative[0]}; give a box as its centre x y z, sizes dx dy dz and yaw, not as two corners"
        )


FRAME_FORM: Final = OutputForm("frame", BOX_WIDTH, _FORMS, _inputs, _parts, _boxes, _check_boxes)
"""Boxes around what stands in a scene."""
