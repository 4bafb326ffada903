"""Framework adapters: one file and one line in `ADAPTERS` each."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from ml_debugger.adapters.adapter import Adapter, AdapterEntry
from ml_debugger.adapters.detection.frame_detector import TorchFrameDetector
from ml_debugger.adapters.detection.plain_detector import CallableDetector, CallableFrameDetector
from ml_debugger.adapters.detection.query_detector import QueryDetector, is_query_detector
from ml_debugger.adapters.detection.torch_detector import TorchDetector
from ml_debugger.adapters.detection.yolo_detector import YoloDetector, is_yolo_detector
from ml_debugger.adapters.plain_callable import CallableClassifier
from ml_debugger.adapters.torch_classifier import TorchClassifier
from ml_debugger.errors import InputError

__all__ = ["ADAPTERS", "Adapter", "AdapterEntry", "find_adapter"]


def _is_torch_module(model: Any) -> bool:
    return isinstance(model, sys.modules["torch"].nn.Module)


# In order of precedence: the first that accepts the model serves it.
ADAPTERS: Final[dict[str, AdapterEntry]] = {
    "torch_classifier": AdapterEntry("classification", "torch", _is_torch_module, TorchClassifier),
    "callable": AdapterEntry("classification", None, lambda model: True, CallableClassifier),
    "yolo_detector": AdapterEntry("object_detection", "torch", is_yolo_detector, YoloDetector),
    "query_detector": AdapterEntry("object_detection", "transformers", is_query_detector, QueryDetector),
    "torch_detector": AdapterEntry("object_detection", "torch", _is_torch_module, TorchDetector),
    "detector_callable": AdapterEntry("object_detection", None, lambda model: True, CallableDetector),
    "torch_detector_3d": AdapterEntry("object_detection_3d", "torch", _is_torch_module, TorchFrameDetector),
    "detector_3d_callable": AdapterEntry("object_detection_3d", None, lambda model: True, CallableFrameDetector),
}


def find_adapter(
    model: Any, target_layers: Mapping[str, str] | None = None, task: str = "classification", **settings: Any
) -> Adapter:
    """The adapter of a model: the first in `ADAPTERS` for the task whose library is imported and that accepts it.

    Args:
        model: Any.
        target_layers: Alias to module path, or None.
        task: Whose output is read.
        **settings: Of the task: for object detection, the fields of `DetectionSettings`, in 3D of `FrameSettings`.

    Raises:
        InputError: If the model cannot be called, a target layer does not exist, a setting cannot be right, or the task
            has no adapter.
    """
    for entry in ADAPTERS.values():
        if entry.task == task and (entry.library is None or entry.library in sys.modules) and entry.accepts(model):
            return entry.build(model, target_layers, **settings)
    tasks = sorted({entry.task for entry in ADAPTERS.values()})
    raise InputError(f"task: no adapter reads the output of task {task!r}; expected one of {tasks}")
