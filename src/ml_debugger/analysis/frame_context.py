"""What the candidates of an image that no returned box stands for say about objects that were missed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_2D, BoxKind
from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.columns import FRAME_CONTEXT

__all__ = ["frame_context"]

Float32 = NDArray[np.float32]

# Weaker candidates are noise; of an image at most so many are looked at, best first.
LOWEST_SCORE: Final = 0.05
MOST_CANDIDATES: Final = 200
LEVELS: Final = (0.05, 0.1, 0.2)


def frame_context(
    kept: PredictedBoxes,
    candidates: PredictedBoxes,
    seen: NDArray[np.bool_],
    score_thresh: float,
    kind: BoxKind = BOXES_2D,
) -> Float32:
    """Statistics of images, from their returned boxes and all candidates, whatever the classes.

    Free candidates are those that overlap no returned box by half (in 3D by a tenth, seen from above), nor a better
    free candidate: each may stand for one object that the model saw and did not report.

    Args:
        kept: U returned boxes, by the position of their image in the batch.
        candidates: M candidates likewise; returned boxes may be among them.
        seen: ``(B,)`` whether the candidates of each image are known.
        score_thresh: Score from which boxes are returned.
        kind: Of the boxes.

    Returns:
        ``(B, F)`` in the columns `FRAME_CONTEXT`; NaN where candidates are not known, and for the mean score of images
        without boxes.
    """
    rows = np.full((len(seen), len(FRAME_CONTEXT)), np.nan, dtype=np.float32)
    for image, known in enumerate(seen):
        own = kept.input_index == image
        scores = kept.score[own]
        rows[image, -2:] = len(scores), scores.mean() if len(scores) else np.nan
        if known:
            theirs = candidates.input_index == image
            free = _free_scores(kept.box[own], candidates.box[theirs], candidates.score[theirs], kind)
            counts = [np.count_nonzero(free >= level) for level in (*LEVELS, score_thresh)]
            rows[image, :-2] = (*counts, free.max(initial=0.0), free.sum())
    return rows


def _free_scores(kept: NDArray[Any], boxes: NDArray[Any], scores: NDArray[Any], kind: BoxKind) -> NDArray[Any]:
    """Scores of free candidates, best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= LOWEST_SCORE][:MOST_CANDIDATES]
    boxes, scores = boxes[order], scores[order]
    # What a returned box stands for takes no other candidate with it, so that only the rest need be compared.
    free = ~np.any(kind.iou_matrix(boxes, kept) >= kind.same_object, axis=1)
    boxes, scores = boxes[free], scores[free]
    same = kind.iou_matrix(boxes, boxes) >= kind.same_object
    taken = np.zeros(len(boxes), dtype=bool)
    chosen = []
    for position in range(len(boxes)):
        if not taken[position]:
            chosen.append(position)
            taken |= same[position]
    return scores[chosen]
