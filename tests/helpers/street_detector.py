"""The 3D detection demo's streets and detector, small enough to be made in seconds, and loaders of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ml_debugger.demo.point_pillars import PointPillars, train
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, Streets, make_streets
from ml_debugger.training import ObjectDetection3DTracer

__all__ = ["N_EMPTY", "frame_loader", "street_detector", "streets", "trace"]

N_EMPTY = 3
Batch = tuple[dict[str, list[torch.Tensor]], list[Any], list[int]]


@cache
def streets() -> Streets:
    """Streets seen by a LiDAR, and last in the pool some frames without a return: the detector finds nothing there."""
    made = make_streets({"train": 24, "val": 30, "pool": 30}, seed=1)
    nothing = {"boxes": np.zeros((0, 7), np.float32), "labels": np.zeros(0, np.int64), "ignore": np.zeros(0, bool)}
    first = len(made.frames)
    parts = {**made.parts, "pool": [*made.parts["pool"], *range(first, first + N_EMPTY)]}
    frames = [*made.frames, *[np.zeros((0, 4), np.float32)] * N_EMPTY]
    return Streets(frames, [*made.targets, *[nothing] * N_EMPTY], parts)


def _collated(batch: Sequence[tuple[torch.Tensor, Any, int]]) -> Batch:
    points, annotations, ids = zip(*batch, strict=True)
    return {"points": list(points)}, list(annotations), list(ids)


def frame_loader(ids: Sequence[int]) -> DataLoader[Any]:
    """Batches of (a dict of points, annotations, ids)."""
    made = streets()
    data = [(torch.from_numpy(made.frames[number]), made.targets[number], number) for number in ids]
    return DataLoader(data, batch_size=8, collate_fn=_collated)


@cache
def street_detector() -> PointPillars:
    """A detector trained on few streets, so that it errs."""
    model = train(streets(), streets().parts["train"], seed=0, epochs=14)
    model.score_thresh = 0.4
    return model


def trace(model: PointPillars, model_name: str) -> None:
    """Record the streets to train on and to validate on."""
    tracer = ObjectDetection3DTracer(model, model_name, "v1", n_class=len(CLASS_NAMES), pc_range=PC_RANGE)
    for dataset_type in ("train", "val"):
        for points, targets, ids in frame_loader(streets().parts[dataset_type]):
            with torch.no_grad():
                tracer(points, targets, ids, dataset_type)
    tracer.wait_for_save()
