"""TASKS: what a model can do. One file per task, one entry here."""

from __future__ import annotations

from typing import Final

from ml_debugger.tasks.classification import CLASSIFICATION
from ml_debugger.tasks.object_detection import OBJECT_DETECTION
from ml_debugger.tasks.object_detection_3d import OBJECT_DETECTION_3D
from ml_debugger.tasks.task import Task

__all__ = ["TASKS", "Task"]

TASKS: Final = {task.name: task for task in (CLASSIFICATION, OBJECT_DETECTION, OBJECT_DETECTION_3D)}
