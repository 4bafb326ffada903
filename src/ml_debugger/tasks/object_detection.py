"""2D object detection: the unit is a predicted box of an image."""

from __future__ import annotations

from typing import Final

from ml_debugger import columns
from ml_debugger.analysis.box_kinds import BOXES_2D
from ml_debugger.analysis.boxes import box_areas
from ml_debugger.tasks.box_task import BoxTask
from ml_debugger.tasks.boxes_in import read_truths
from ml_debugger.tasks.detection_descriptors import box_descriptors, box_geometry, neighbours
from ml_debugger.tasks.detection_quality import image_quality, image_sizes

__all__ = ["OBJECT_DETECTION"]

OBJECT_DETECTION: Final = BoxTask(
    name="object_detection",
    method="od_v1",
    kind=BOXES_2D,
    columns=columns.BOX_COLUMNS,
    context=columns.DETECTION_CONTEXT,
    sizes=box_areas,
    read_truths=read_truths,
    descriptors=box_descriptors,
    geometry=box_geometry,
    neighbours=neighbours,
    quality=image_quality,
    input_sizes=image_sizes,
).build()
