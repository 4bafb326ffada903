"""Thinning out boxes after the fact, for detectors whose own thresholds cannot be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.analysis.boxes import iou_matrix

__all__ = ["kept_positions"]


def kept_positions(image: ImageBoxes, thinning: Mapping[str, Any]) -> NDArray[np.int64]:
    """Positions of the boxes that stay, ascending: by score, then suppression within each class, then by number.

    Args:
        image: Boxes as returned.
        thinning: Any of ``score_thresh``, ``iou_thresh`` and ``max_detections_per_image``.
    """
    order = np.argsort(-image.scores, kind="stable")
    order = order[image.scores[order] >= thinning.get("score_thresh", 0.0)]
    if "iou_thresh" in thinning:
        order = order[_best_of_their_place(image.boxes[order], image.labels[order], thinning["iou_thresh"])]
    return np.sort(order[: thinning.get("max_detections_per_image")])


def _best_of_their_place(boxes: NDArray[np.float32], labels: NDArray[np.int64], iou_thresh: float) -> NDArray[np.bool_]:
    """Which of U boxes, best first, no better box of their class overlaps by more than the threshold."""
    rivals = (iou_matrix(boxes, boxes) > iou_thresh) & (labels[:, None] == labels[None, :])
    stays = np.ones(len(boxes), dtype=bool)
    for position in range(len(boxes)):
        if stays[position]:
            stays[position + 1 :] &= ~rivals[position, position + 1 :]
    return stays
