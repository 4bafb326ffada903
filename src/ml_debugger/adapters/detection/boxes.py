"""What was read from a detector, image by image, before it becomes one `ModelOutput`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOWEST_CANDIDATE", "MOST_CANDIDATES", "Candidates", "ImageBoxes"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

# Candidates that score less say nothing; of an image at most so many are read, best first.
LOWEST_CANDIDATE: Final = 0.01
MOST_CANDIDATES: Final = 1000


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of one image or frame before suppression: one entry per place and class.

    Attributes:
        boxes: ``(M, 4)`` float32 pixels x1 y1 x2 y2, or ``(M, 7)`` as in `ModelOutput`.
        labels: ``(M,)`` int64.
        scores: ``(M,)`` float32 in 0..1.
    """

    boxes: Float32
    labels: Int64
    scores: Float32

    def best(self) -> Candidates:
        """The best `MOST_CANDIDATES` of those that score at least `LOWEST_CANDIDATE`."""
        chosen = np.argsort(-self.scores, kind="stable")[:MOST_CANDIDATES]
        chosen = chosen[self.scores[chosen] >= LOWEST_CANDIDATE]
        return Candidates(self.boxes[chosen], self.labels[chosen], self.scores[chosen])


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The boxes that a detector returned for one image or frame, in its order.

    Attributes:
        boxes: ``(U, 4)`` float32 pixels x1 y1 x2 y2, or ``(U, 7)`` as in `ModelOutput`.
        labels: ``(U,)`` int64.
        scores: ``(U,)`` float64 in 0..1.
        features: ``(U, D)`` float32, or None.
        logits: ``(U, C)`` float32, or None.
        candidates: Before suppression, or None.
        size: Width and height in pixels, or None.
    """

    boxes: Float32
    labels: Int64
    scores: NDArray[np.float64]
    features: Float32 | None = None
    logits: Float32 | None = None
    candidates: Candidates | None = None
    size: tuple[float, float] | None = None
