"""How good a detector is by the usual measure, and what people need to look at its boxes: annotations, image sizes."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger.analysis.average_precision import MISSING_NOTE, NAMES, average_precision
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.tasks.box_task import NO_OBJECTS, boxes_of
from ml_debugger.tasks.task import Quality, Units

__all__ = ["image_quality", "image_sizes"]

IMAGE_WIDTH: Final = 4


def image_quality(records: pa.Table, truth_rows: pa.Table, draws: int, seed: int) -> Quality:
    """COCO's mean average precision of the recorded boxes over the annotated images.

    Args:
        records: N rows with ``recording_id``, ``label``, ``score`` and ``box``.
        truth_rows: Rows of the annotated images, with ``truth_index``.
        draws: Bootstrap draws of images for the intervals, at most.
        seed: Of the draws.
    """
    objects = truth_rows.filter(pc.not_equal(truth_rows["truth_index"], NO_OBJECTS))
    found = average_precision(
        PredictedBoxes(
            records["recording_id"].to_numpy(),
            boxes_of(records, IMAGE_WIDTH),
            records["label"].to_numpy(),
            records["score"].to_numpy(),
        ),
        TrueBoxes(
            objects["recording_id"].to_numpy(),
            boxes_of(objects, IMAGE_WIDTH),
            objects["truth"].to_numpy(),
            objects["ignored"].to_numpy().astype(bool),
        ),
        np.unique(truth_rows["recording_id"].to_numpy()),
        draws=draws,
        seed=seed,
    )
    if found is None:
        return Quality(dict.fromkeys(NAMES), (MISSING_NOTE,))
    return Quality(found)


def image_sizes(units: Units) -> NDArray[np.float32]:
    """``(U, 2)`` width and height of the image of each box; NaN where the model does not show them."""
    if units.context.shape[1] == 0:
        return np.full((len(units), 2), np.nan, dtype=np.float32)
    return units.context[:, :2]
