"""Features of MetaDetect (Schubert, Kahl, Rottmann, 2020, arXiv 2010.01695): statistics of the candidates of a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_errors.data import Proposals
from ml_debugger.analysis.boxes import find_overlaps
from ml_debugger.types import ModelOutput

__all__ = ["metadetect_features"]

OVERLAP = 0.45

Float64 = NDArray[np.float64]


def metadetect_features(output: ModelOutput, proposals: Proposals) -> Float64:
    """``(U, 55)``: score, sides, size, area, circumference and their ratio; number and statistics of the candidates.

    The statistics are minimum, maximum, mean and deviation of the same and of the overlap with the box. The box is one
    of its candidates.
    """
    boxes, best = np.asarray(output.boxes, dtype=np.float64), proposals.best
    pairs = find_overlaps(output.input_index, boxes, proposals.image, proposals.box)
    near = (pairs.iou >= OVERLAP) & (proposals.label[pairs.second] == output.label[pairs.first])
    pairs = pairs.rows(np.flatnonzero(near))
    candidates = np.concatenate([_numbers(proposals.box[pairs.second], best[pairs.second]), pairs.iou[:, None]], axis=1)
    count = np.bincount(pairs.first, minlength=len(boxes)).astype(np.float64)
    columns = [_numbers(boxes, output.score), count[:, None]]
    columns += [_statistics(column, pairs.first, count) for column in candidates.T]
    return np.concatenate(columns, axis=1)


def _numbers(boxes: NDArray[np.floating], score: NDArray[np.floating]) -> Float64:
    x1, y1, x2, y2 = np.asarray(boxes, dtype=np.float64).T
    width, height = x2 - x1, y2 - y1
    area, around = width * height, 2 * (width + height)
    ratio = area / np.maximum(around, 1e-9)
    return np.stack([score, x1, y1, x2, y2, width, height, area, around, ratio], axis=1)


def _statistics(values: Float64, box: NDArray[np.int64], count: Float64) -> Float64:
    least, most = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(least, box, values)
    np.maximum.at(most, box, values)
    number = np.maximum(count, 1)
    mean = np.bincount(box, values, minlength=len(count)) / number
    spread = np.sqrt(np.bincount(box, (values - mean[box]) ** 2, minlength=len(count)) / number)
    found = np.stack([least, most, mean, spread], axis=1)
    return np.where(count[:, None] > 0, found, 0.0)
