"""Features of 3D boxes from a map of the scene seen from above: averaged over a grid of points in each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.kinds import PointRange
from ml_debugger.adapters.layers import named_layers, resolve_layers
from ml_debugger.errors import CaptureError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BevCapture", "map_of", "sample_boxes"]

Float32 = NDArray[np.float32]

# Where a box is looked at, along either of its axes, in halves of its side: its thirds have these centres.
PLACES: Final = (-2 / 3, 0.0, 2 / 3)
# What OpenPCDet's layers, which hand on one dict, call the maps that they make; the last first.
MAP_NAMES: Final = ("spatial_features_2d", "spatial_features")
MAP_AXES: Final = 4


def sample_boxes(feature_map: Any, boxes: Sequence[Float32], pc_range: PointRange) -> list[Float32]:
    """Features ``(U, D)`` of the boxes of each frame, on any device and of any precision.

    Bilinear interpolation at the centres of the nine parts of each box; beyond the map its border counts.

    Args:
        feature_map: ``(B, D, h, w)`` tensor: rows along y, columns along x, all of ``pc_range``.
        boxes: Of each of B frames, ``(U, 7)``; rows of NaN give rows of NaN.
        pc_range: Where the map begins and ends.
    """
    import torch
    from torch.nn.functional import grid_sample

    counts = [len(own) for own in boxes]
    found = []
    for position, own in enumerate(boxes):
        place = torch.from_numpy(_places(np.asarray(own, dtype=np.float64), pc_range)).to(feature_map.device)
        one = feature_map[position : position + 1].detach().float()
        with torch.autocast(one.device.type, enabled=False):
            sampled = grid_sample(one, place[None], padding_mode="border", align_corners=False)
        found.append(sampled[0].mean(dim=2).T)
    rows = torch.cat(found).cpu().numpy() if found else np.empty((0, feature_map.shape[1]), np.float32)
    parts = np.split(rows, np.cumsum(counts)[:-1]) if counts else []
    for own, part in zip(boxes, parts, strict=True):
        part[np.isnan(own).any(axis=1)] = np.nan
    return parts


def _places(boxes: NDArray[np.float64], pc_range: PointRange) -> Float32:
    """``(U, 9, 2)`` x and y of the parts of each box, -1 at the low and 1 at the high end of the range."""
    x, y, _, dx, dy, _, yaw = np.nan_to_num(boxes).T[..., None]
    along, aside = (grid.reshape(1, -1) for grid in np.meshgrid(PLACES, PLACES, indexing="ij"))
    along, aside = along * dx / 2, aside * dy / 2
    low_x, low_y, _, high_x, high_y, _ = pc_range
    across = (x + along * np.cos(yaw) - aside * np.sin(yaw) - low_x) / (high_x - low_x)
    up = (y + along * np.sin(yaw) + aside * np.cos(yaw) - low_y) / (high_y - low_y)
    return (2 * np.stack([across, up], axis=-1) - 1).astype(np.float32)


def map_of(value: Any) -> Any | None:
    """The map in what a layer gave: a tensor of four axes, the first of a list, or OpenPCDet's in its dict."""
    if isinstance(value, Mapping):
        return next((value[name] for name in MAP_NAMES if name in value), None)
    if isinstance(value, list | tuple):
        return next((found for found in map(map_of, value) if found is not None), None)
    return value if getattr(value, "ndim", 0) == MAP_AXES and hasattr(value, "detach") else None


class BevCapture:
    """Maps of the layers that the user named.

    Args:
        model: Their owner.
        target_layers: Alias to path.
        pc_range: What the maps show, or None where it is not known.

    Raises:
        InputError: If a path names no module.
    """

    def __init__(self, model: nn.Module, target_layers: Mapping[str, str], pc_range: PointRange | None) -> None:
        self.paths = list(resolve_layers(model, target_layers).values())
        self._layers = [named_layers(model)[path] for path in self.paths]
        self._pc_range = pc_range
        self._maps: dict[int, list[Any]] = {}

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Layers and their hooks, for one call."""
        return [(layer, self._hook(place)) for place, layer in enumerate(self._layers)]

    def _hook(self, place: int) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            found = map_of(output)
            if found is not None:
                # A copy: an in-place operation after the layer would alter what was captured.
                self._maps.setdefault(place, []).append(found.detach().clone())

        return record

    def clear(self) -> None:
        """Forget what was captured."""
        self._maps.clear()

    def enrich(self, images: Sequence[ImageBoxes], model_input: Any) -> list[ImageBoxes]:
        """Frames with features sampled from the maps, side by side, in place of any others.

        Raises:
            CaptureError: If a layer gave no map of these frames, or what the maps show is not known.
        """
        if self._pc_range is None:
            raise CaptureError(
                "pc_range: where the feature maps begin and end is needed to find a box in them, and the model does "
                "not tell; pass pc_range=(x, y, z where the scene begins, then those where it ends)"
            )
        parts = [self._sampled(place, images, self._pc_range) for place in range(len(self.paths))]
        joined = [np.concatenate(own, axis=1) for own in zip(*parts, strict=True)]
        return [replace(image, features=rows) for image, rows in zip(images, joined, strict=True)]

    def _sampled(self, place: int, images: Sequence[ImageBoxes], pc_range: PointRange) -> list[Float32]:
        maps = self._maps.get(place, [])
        boxes = [image.boxes for image in images]
        if len(maps) == len(images) > 1 and all(len(one) == 1 for one in maps):  # frame by frame
            pairs = zip(maps, boxes, strict=True)
            return [rows for one, own in pairs for rows in sample_boxes(one, [own], pc_range)]
        if len(maps) != 1 or len(maps[0]) != len(images):
            shapes = [tuple(one.shape) for one in maps]
            raise CaptureError(
                f"layer {self.paths[place]!r}: expected one map seen from above ({len(images)}, D, h, w), got "
                f"{shapes or 'none'}; name a layer that gives one, or leave target_layers out"
            )
        return sample_boxes(maps[0], boxes, pc_range)
