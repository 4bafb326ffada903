"""Torch modules that return boxes of a point cloud: OpenPCDet's, mmdetection3d's, and any other."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ml_debugger.adapters.detection.bev_features import BevCapture
from ml_debugger.adapters.detection.captures import Head, Maps
from ml_debugger.adapters.detection.frame_heads import find_frame_head, find_range
from ml_debugger.adapters.detection.kinds import FRAMES, PointRange
from ml_debugger.adapters.detection.torch_detector import TorchDetector

__all__ = ["TorchFrameDetector"]


class TorchFrameDetector(TorchDetector):
    """A torch module that returns 3D boxes, in any of the forms that `read_detections` reads.

    Of OpenPCDet's detectors logits, features and, with anchors, candidates are read too, of mmdetection3d's features;
    both are asked for thresholds for the length of a call, where their configuration holds them. Of other modules the
    thresholds given choose which of the returned boxes are recorded. A batch as mmdetection3d's loader gives it goes
    through ``test_step``.

    Args:
        model: Any ``nn.Module``.
        target_layers: Alias to path of a layer that gives a map of the scene seen from above, ``(B, D, h, w)`` with
            rows along y and columns along x; features of boxes are sampled from it, those of several layers side by
            side. Default: what the head shows, if it is known.
        **settings: Fields of `FrameSettings`.

    Raises:
        InputError: If a path names no module, a setting cannot be right or is not the model's.
    """

    name = "torch_detector_3d"
    kind = FRAMES

    def _range(self, chosen: Any) -> PointRange | None:
        return find_range(self._inner) if chosen.pc_range is None else chosen.pc_range

    def _open_maps(self, target_layers: Mapping[str, str]) -> Maps:
        return BevCapture(self._inner, target_layers, self._builder.pc_range)

    def _find_head(self) -> Head | None:
        return find_frame_head(self._inner, self._builder.pc_range)

    def _forward(self, model_input: Any) -> Any:
        inner: Any = self._inner
        if _is_loaders_batch(model_input) and _predicts_by_mode(inner):
            return inner.test_step(model_input)
        return super()._forward(model_input)


def _is_loaders_batch(model_input: Any) -> bool:
    return isinstance(model_input, Mapping) and set(model_input) == {"inputs", "data_samples"}


def _predicts_by_mode(model: Any) -> bool:
    """Whether a model returns boxes only in one of its modes, which its ``test_step`` chooses."""
    return callable(getattr(model, "test_step", None)) and "mode" in inspect.signature(model.forward).parameters
