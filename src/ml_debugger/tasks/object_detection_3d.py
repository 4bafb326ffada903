"""3D object detection: the unit is a predicted box of a frame."""

from __future__ import annotations

from typing import Final

from ml_debugger import columns
from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.boxes_3d import box_volumes
from ml_debugger.tasks.box_task import BoxTask
from ml_debugger.tasks.boxes_3d_in import read_truths_3d
from ml_debugger.tasks.detection_3d_descriptors import box_descriptors, box_geometry, box_numbers, neighbours
from ml_debugger.tasks.detection_quality import frame_quality

__all__ = ["OBJECT_DETECTION_3D"]

OBJECT_DETECTION_3D: Final = BoxTask(
    name="object_detection_3d",
    method="od3d_v1",
    kind=BOXES_3D,
    columns=columns.BOX_3D_COLUMNS,
    context=columns.DETECTION_3D_CONTEXT,
    sizes=box_volumes,
    read_truths=read_truths_3d,
    descriptors=box_descriptors,
    geometry=box_geometry,
    neighbours=neighbours,
    numbers=box_numbers,
    learners=("boosted_ridge",),
    quality=frame_quality,
).build()
