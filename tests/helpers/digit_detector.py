"""The detection demo's scenes and detector, small enough to be made in seconds, and loaders of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ml_debugger.demo.digit_scenes import N_CLASSES, Scenes, make_scenes
from ml_debugger.demo.small_detector import SmallDetector, train
from ml_debugger.training import ObjectDetectionTracer

__all__ = ["N_EMPTY", "digit_detector", "image_loader", "scenes", "trace", "tracer"]

N_EMPTY = 5


@cache
def scenes() -> Scenes:
    """Scenes of handwritten digits, and last in the pool some blank images, on which the detector finds nothing."""
    made = make_scenes({"train": 100, "val": 80, "pool": 210}, seed=1)
    blank = np.zeros((N_EMPTY, *made.images.shape[1:]), np.float32)
    nothing = [{"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}] * N_EMPTY
    first = len(made.images)
    parts = {**made.parts, "pool": [*made.parts["pool"], *range(first, first + N_EMPTY)]}
    return Scenes(np.concatenate([made.images, blank]), [*made.targets, *nothing], parts)


def image_loader(ids: Sequence[int]) -> DataLoader[Any]:
    """Batches of (images, something that is no label, ids)."""
    return DataLoader([(torch.from_numpy(scenes().images[number]), -1, number) for number in ids], batch_size=32)


def digit_detector(ids: Sequence[int] | None = None, epochs: int = 14) -> SmallDetector:
    """A detector trained on some scenes, by default on those to train on."""
    return train(scenes(), list(scenes().parts["train"] if ids is None else ids), seed=0, epochs=epochs)


def tracer(model: SmallDetector, model_name: str) -> ObjectDetectionTracer:
    """A tracer of its first version."""
    return ObjectDetectionTracer(model, model_name, "v1", n_class=N_CLASSES)


def trace(tracer: ObjectDetectionTracer, train_ids: Sequence[int]) -> None:
    """Record the scenes to train on and to validate on."""
    for dataset_type, chosen in (("train", train_ids), ("val", scenes().parts["val"])):
        for images, _, ids in image_loader(chosen):
            with torch.no_grad():
                tracer(images, scenes().annotations(ids.tolist()), ids, dataset_type)
    tracer.wait_for_save()
