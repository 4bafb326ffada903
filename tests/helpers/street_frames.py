"""Frames of cars and people, and a plain function that detects them with known errors; a frame is its number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["BATCH", "annotations", "batches", "detect", "objects", "points"]

SIZES = np.array([[4.2, 1.8, 1.5], [0.8, 0.7, 1.75]])
SENSOR_HEIGHT = 1.7
POINTS_AT_10_M = 120
BATCH = 10


def objects(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """``(G, 7)`` boxes on the ground and ``(G,)`` classes, 0 a car and 1 a person; every tenth frame is empty."""
    random = np.random.default_rng(frame)
    count = 0 if frame % 10 == 9 else int(random.integers(1, 6))
    label = random.integers(0, 2, count)
    size = SIZES[label] * random.normal(1, 0.05, (count, 3))
    place = np.stack([6.0 + 11.0 * np.arange(count) + random.uniform(0, 4, count), random.uniform(-15, 15, count)], 1)
    z = size[:, 2:] / 2 - SENSOR_HEIGHT
    return np.concatenate([place, z, size, random.uniform(-np.pi, np.pi, (count, 1))], axis=1), label


def annotations(frames: Iterable[int]) -> list[dict[str, np.ndarray]]:
    """Ground truth of some frames."""
    return [dict(zip(("boxes", "labels"), objects(int(frame)), strict=True)) for frame in frames]


def points(frame: int) -> np.ndarray:
    """``(N, 4)`` points of a frame: some on the ground, and in each object the fewer, the farther it is."""
    random = np.random.default_rng(frame)
    ground = np.concatenate([random.uniform((0, -20), (60, 20), (200, 2)), np.full((200, 1), -SENSOR_HEIGHT)], axis=1)
    found = [ground]
    for box in objects(frame)[0]:
        inside = random.uniform(-0.48, 0.48, (int(POINTS_AT_10_M * 10 / box[0]), 3)) * box[3:6]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        found.append(box[:3] + inside @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]))
    xyz = np.concatenate(found)
    return np.concatenate([xyz, random.random((len(xyz), 1))], axis=1).astype(np.float32)


def detect(batch: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """What a detector makes of a batch ``{"points": [...], "frame": [...]}``, one dict per frame.

    Of four objects about one is displaced, of the wrong class, or missed, the more likely the farther it is.
    """
    return [_detect(int(frame)) for frame in batch["frame"]]


def _detect(frame: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(10_000 + frame)
    box, label = objects(frame)
    far = np.clip(box[:, 0] / 60, 0, 1)
    kind = np.array([random.choice(4, p=[1 - share, *[share / 3] * 3]) for share in 0.1 + 0.4 * far], dtype=int)
    moved = box + random.normal(0, 0.03, box.shape)
    moved[:, :2] += np.where(kind == 1, 0.6, 0.0)[:, None] * box[:, 3:5]
    said = np.where(kind == 2, 1 - label, label)
    score = np.clip(random.normal(np.where(kind > 0, 0.5, 0.75), 0.12), 0.05, 0.99)
    beside = moved[kind < 2] + random.normal(0, 0.1, (int((kind < 2).sum()), 7)) * [1, 1, 0.1, 1, 1, 1, 0.3]
    shown = kind < 3
    return {
        "boxes": moved[shown],
        "labels": said[shown],
        "scores": score[shown],
        "features": random.normal(size=(int(shown.sum()), 4)) + (kind[shown] > 0)[:, None],
        "logits": random.normal(size=(int(shown.sum()), 2)) + 3.0 * np.eye(2)[said[shown]],
        "candidates": {"boxes": beside, "labels": said[kind < 2], "scores": 0.7 * score[kind < 2]},
    }


def batches(frames: Iterable[int]) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Inputs and ids of frames, some at a time."""
    ids = list(frames)
    for start in range(0, len(ids), BATCH):
        own = ids[start : start + BATCH]
        yield {"points": [points(frame) for frame in own], "frame": own}, own
