"""Tracers: run a model next to its labels and record both."""

from ml_debugger.training.classification import ClassificationTracer
from ml_debugger.training.object_detection import ObjectDetectionTracer
from ml_debugger.training.object_detection_3d import ObjectDetection3DTracer

__all__ = ["ClassificationTracer", "ObjectDetection3DTracer", "ObjectDetectionTracer"]
