"""Features of boxes from a feature map: RoIAlign (He et al., Mask R-CNN, 2017), averaged over each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import MLDebuggerWarning, warn

__all__ = ["can_pool", "pool_boxes"]

BINS: Final = 3
POINTS: Final = 2


def can_pool() -> bool:
    """Whether torchvision is there, whose RoIAlign it is; a warning says what is missing where it is not."""
    try:
        import torchvision.ops  # noqa: F401 - whether it can be imported is the question
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        warn(f"features of boxes are pooled by torchvision, which cannot be imported ({error})", MLDebuggerWarning)
        return False
    return True


def pool_boxes(
    feature_map: Any, boxes: Sequence[NDArray[np.float32]], scales: NDArray[np.float64]
) -> list[NDArray[np.float32]]:
    """Features ``(U, D)`` of the boxes of each image.

    Args:
        feature_map: ``(B, D, h, w)`` tensor.
        boxes: Of each of B images, ``(U, 4)`` in its pixels; rows of NaN give rows of NaN.
        scales: ``(B, 2)`` cells of the map per pixel of the image, across and down.
    """
    import torch
    from torchvision.ops import roi_align

    feature_map = feature_map.detach().float()
    places = [
        torch.from_numpy(np.nan_to_num(own * np.tile(scale, 2)).astype(np.float32)).to(feature_map.device)
        for own, scale in zip(boxes, scales, strict=True)
    ]
    pooled = roi_align(feature_map, places, BINS, sampling_ratio=POINTS, aligned=True).mean(dim=(2, 3)).cpu().numpy()
    parts = np.split(pooled, np.cumsum([len(own) for own in boxes])[:-1])
    for own, part in zip(boxes, parts, strict=True):
        part[np.isnan(own).any(axis=1)] = np.nan
    return parts
