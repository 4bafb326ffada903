"""How good a detector is by the usual measure, and what people need to look at its boxes: annotations, image sizes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger.analysis.average_precision import MISSING_NOTE, NAMES, average_precision
from ml_debugger.analysis.average_precision_3d import average_precision_3d
from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D, BoxKind
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.tasks.box_task import NO_OBJECTS, boxes_of
from ml_debugger.tasks.task import Quality, Units

__all__ = ["frame_quality", "image_quality", "image_sizes"]


def image_quality(
    records: pa.Table, truth_rows: pa.Table, matching: MatchSettings | None, draws: int, seed: int
) -> Quality:
    """COCO's mean average precision of the recorded boxes over the annotated images.

    Args:
        records: N rows with ``recording_id``, ``label``, ``score`` and ``box``.
        truth_rows: Rows of the annotated images, with ``truth_index``.
        matching: Not asked: COCO has its own thresholds.
        draws: Bootstrap draws of images for the intervals, at most.
        seed: Of the draws.
    """
    predictions, truths, images = _read(records, truth_rows, BOXES_2D)
    found = average_precision(predictions, truths, images, draws=draws, seed=seed)
    if found is None:
        return Quality(dict.fromkeys(NAMES), (MISSING_NOTE,))
    return Quality(found)


def frame_quality(
    records: pa.Table, truth_rows: pa.Table, matching: MatchSettings | None, draws: int, seed: int
) -> Quality:
    """Mean average precision of the recorded boxes over the annotated frames, see `average_precision_3d`.

    Args:
        records: N rows with ``recording_id``, ``label``, ``score`` and ``box``.
        truth_rows: Rows of the annotated frames, with ``truth_index``.
        matching: Thresholds and measures of the evaluation, None for the default ones.
        draws: Bootstrap draws of frames for the intervals, at most.
        seed: Of the draws.
    """
    predictions, truths, frames = _read(records, truth_rows, BOXES_3D)
    return Quality(average_precision_3d(predictions, truths, frames, matching, draws=draws, seed=seed))


def _read(
    records: pa.Table, truth_rows: pa.Table, kind: BoxKind
) -> tuple[PredictedBoxes, TrueBoxes, NDArray[np.int64]]:
    """Predicted boxes, annotated boxes, and the annotated inputs."""
    objects = truth_rows.filter(pc.not_equal(truth_rows["truth_index"], NO_OBJECTS))
    predictions = PredictedBoxes(
        records["recording_id"].to_numpy(),
        boxes_of(records, kind.width),
        records["label"].to_numpy(),
        records["score"].to_numpy(),
    )
    truths = TrueBoxes(
        objects["recording_id"].to_numpy(),
        boxes_of(objects, kind.width),
        objects["truth"].to_numpy(),
        objects["ignored"].to_numpy().astype(bool),
    )
    return predictions, truths, np.unique(truth_rows["recording_id"].to_numpy())


def image_sizes(units: Units) -> NDArray[np.float32]:
    """``(U, 2)`` width and height of the image of each box; NaN where the model does not show them."""
    if units.context.shape[1] == 0:
        return np.full((len(units), 2), np.nan, dtype=np.float32)
    return units.context[:, :2]
