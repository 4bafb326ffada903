"""Features of LidarMetaDetect (Riedlinger et al., 2023, arXiv 2306.07835), as far as they need no points.

Statistics of the candidates of a box. The detectors here had dropped nearly all candidates that overlap a box of their
class before anything was written, so that most boxes have few besides themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection3d_errors.data import CLASSES, Objects
from ml_debugger.analysis.boxes_3d import box_volumes, iou_3d, iter_shared_space
from ml_debugger.types import ModelOutput

__all__ = ["lidar_metadetect_features"]

OVERLAP = 0.1  # seen from above, from which on a candidate belongs to a box

Float64 = NDArray[np.float64]


def lidar_metadetect_features(output: ModelOutput, found: Objects) -> Float64:
    """``(U, 72)`` of recorded boxes.

    The predicted class; score, box, distance, volume, surface and their ratio; the number of candidates, and of each of
    the same numbers and of the overlaps, from above and of volumes, minimum, maximum, mean and deviation over the
    candidates of all scores. The box is one of its candidates.

    Args:
        output: What was recorded.
        found: All detections of the same frames.
    """
    boxes = np.asarray(output.boxes, dtype=np.float64)
    pairs = [
        (space.first, space.second, space.area)
        for space in iter_shared_space(output.input_index, boxes, found.frame, found.box)
    ]
    one, other, area = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    sides = boxes[one, 3] * boxes[one, 4] + found.box[other, 3] * found.box[other, 4]
    overlap = area / (sides - area)
    near = overlap >= OVERLAP
    one, other, overlap = one[near], other[near], overlap[near]
    candidates = np.concatenate(
        [
            _numbers(found.box[other], found.score[other]),
            np.stack([overlap, iou_3d(boxes[one], found.box[other])], axis=1),
        ],
        axis=1,
    )
    count = np.bincount(one, minlength=len(boxes)).astype(np.float64)
    columns = [np.eye(len(CLASSES))[output.label], _numbers(boxes, output.score), count[:, None]]
    columns += [_statistics(column, one, count) for column in candidates.T]
    return np.concatenate(columns, axis=1)


def _numbers(boxes: Float64, score: NDArray[np.floating]) -> Float64:
    x, y, _, dx, dy, dz, _ = boxes.T
    volume, surface = box_volumes(boxes), 2.0 * (dx * dy + dx * dz + dy * dz)
    ratio = volume / np.maximum(surface, 1e-9)
    return np.concatenate([boxes, np.stack([score, np.hypot(x, y), volume, surface, ratio], axis=1)], axis=1)


def _statistics(values: Float64, box: NDArray[np.int64], count: Float64) -> Float64:
    """``(U, 4)``: minimum, maximum, mean and deviation; the box itself is always there."""
    least, most = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(least, box, values)
    np.maximum.at(most, box, values)
    mean = np.bincount(box, values, minlength=len(count)) / count
    spread = np.sqrt(np.bincount(box, (values - mean[box]) ** 2, minlength=len(count)) / count)
    return np.stack([least, most, mean, spread], axis=1)
