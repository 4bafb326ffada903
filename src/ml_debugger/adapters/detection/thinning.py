"""Thinning out boxes after the fact, for detectors whose own thresholds cannot be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.kinds import IMAGES, DetectorKind

__all__ = ["kept_positions"]


def kept_positions(image: ImageBoxes, thinning: Mapping[str, Any], kind: DetectorKind = IMAGES) -> NDArray[np.int64]:
    """Positions of the boxes that stay, ascending: by score, then suppression within each class, then by number.

    Args:
        image: Boxes as returned.
        thinning: Any of ``score_thresh``, ``iou_thresh`` and the most boxes of an input, as the kind calls it.
        kind: Of detector; overlaps in point clouds are those seen from above.
    """
    order = np.argsort(-image.scores, kind="stable")
    order = order[image.scores[order] >= thinning.get("score_thresh", 0.0)]
    if "iou_thresh" in thinning:
        overlaps = kind.boxes.iou_matrix(image.boxes[order], image.boxes[order])
        order = order[_best_of_their_place(overlaps > thinning["iou_thresh"], image.labels[order])]
    return np.sort(order[: thinning.get(kind.most)])


def _best_of_their_place(overlaps: NDArray[np.bool_], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of U boxes, best first, no better box of their class overlaps; ``overlaps (U, U)`` is by enough."""
    rivals = overlaps & (labels[:, None] == labels[None, :])
    stays = np.ones(len(labels), dtype=bool)
    for position in range(len(labels)):
        if stays[position]:
            stays[position + 1 :] &= ~rivals[position, position + 1 :]
    return stays
