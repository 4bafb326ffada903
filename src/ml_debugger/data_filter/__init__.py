"""Data filters: run a model on unlabelled batches, flag inputs live, and select from all of them afterwards."""

from ml_debugger.data_filter.classification import ClassificationDataFilter
from ml_debugger.data_filter.object_detection import ObjectDetectionDataFilter
from ml_debugger.data_filter.object_detection_3d import ObjectDetection3DDataFilter
from ml_debugger.selection import BBoxStrategy, FilterConfig, SamplingConfig

__all__ = [
    "BBoxStrategy",
    "ClassificationDataFilter",
    "FilterConfig",
    "ObjectDetection3DDataFilter",
    "ObjectDetectionDataFilter",
    "SamplingConfig",
]
