"""How good a detector is by the usual measure, and what people need to look at its boxes: annotations, image sizes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis.average_precision import MISSING_NOTE, NAMES, average_precision
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.tasks.task import Quality, Units
from ml_debugger.tasks.units import read_matrix

__all__ = ["NO_OBJECTS", "box_quality", "boxes_of", "image_sizes", "shown_truths"]

NO_OBJECTS = -1
"""``truth_index`` of the row that says an image is annotated and holds no object."""


def boxes_of(rows: pa.Table) -> NDArray[np.float32]:
    """``(N, 4)``; NaN where there is none."""
    box = read_matrix(rows, "box")
    return box if box.shape[1] else np.full((rows.num_rows, 4), np.nan, dtype=np.float32)


def box_quality(records: pa.Table, truth_rows: pa.Table, draws: int, seed: int) -> Quality:
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
            boxes_of(records),
            records["label"].to_numpy(),
            records["score"].to_numpy(),
        ),
        TrueBoxes(
            objects["recording_id"].to_numpy(),
            boxes_of(objects),
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


def shown_truths(truth_rows: pa.Table, missed: NDArray[np.bool_]) -> pa.Table:
    """One row per annotated box, and one without a box per annotated image that has none.

    Args:
        truth_rows: Stored rows.
        missed: Whether no prediction belongs to it, for each of those with an object, in their order.
    """
    is_object = truth_rows["truth_index"].to_numpy() != NO_OBJECTS
    flags = np.zeros(truth_rows.num_rows, dtype=bool)
    flags[is_object] = missed
    names = ("input_id", "id_kind", "dataset_type", "recording_id", "truth_index", "truth", "ignored")
    table = truth_rows.select(names).append_column("missed", pa.array(flags))
    for name, side in zip(columns.BOX_COLUMNS, boxes_of(truth_rows).T, strict=True):
        table = table.append_column(name, pa.array(side, type=pa.float32()))
    return table


def image_sizes(units: Units) -> NDArray[np.float32]:
    """``(U, 2)`` width and height of the image of each box; NaN where the model does not show them."""
    if units.context.shape[1] == 0:
        return np.full((len(units), 2), np.nan, dtype=np.float32)
    return units.context[:, :2]
