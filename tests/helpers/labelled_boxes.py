"""A detector that errs in known ways, and its traced, labelled rows without a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.task import Task
from ml_debugger.types import ModelOutput
from tests.helpers.labelled_runs import input_rows

TASK = TASKS["object_detection"]
SIZE = 640.0


def detections(
    n_images: int, seed: int = 0, *, width: int | None = 6, n_classes: int = 3, empty: bool = True
) -> tuple[ModelOutput, list[dict[str, Any]]]:
    """Up to four objects an image; a box is displaced, of the wrong class or invented with what features show."""
    random = np.random.default_rng(seed)
    index, boxes, labels, scores, kinds, truths = [], [], [], [], [], []
    for image in range(n_images):
        count = int(random.integers(0 if empty else 1, 5))
        corner = np.stack([150.0 * np.arange(count), random.uniform(0, 300, count)], axis=1)
        box = np.concatenate([corner, corner + random.uniform(60, 140, (count, 2))], axis=1)
        label = random.integers(0, n_classes, count)
        truths.append({"boxes": box, "labels": label})
        kind = random.choice(4, count, p=[0.6, 0.2, 0.1, 0.1])  # right, displaced, wrong class, missed
        shown = kind < 3
        moved = box + np.where(kind == 1, 45.0, random.normal(0, 2, count))[:, None]
        index.append(np.full(int(shown.sum()), image))
        boxes.append(moved[shown])
        labels.append(np.where(kind == 2, (label + 1) % n_classes, label)[shown])
        scores.append(np.clip(random.normal(np.where(kind > 0, 0.5, 0.7), 0.15), 0.3, 0.99)[shown])
        kinds.append(kind[shown])
    kind = np.concatenate(kinds)
    label = np.concatenate(labels)
    features = random.normal(size=(len(kind), width or 0)) + 1.5 * (kind > 0)[:, None] * np.eye(1, width or 0)
    logits = random.normal(size=(len(kind), n_classes)) + (2.5 - 1.5 * (kind == 2))[:, None] * np.eye(n_classes)[label]
    context = np.full((len(kind), len(columns.DETECTION_CONTEXT)), np.nan)
    context[:, :2] = SIZE
    context[:, 2] = random.poisson(np.where(kind == 1, 1.0, 4.0))
    context[:, 3:5] = random.uniform(0.1, 0.6, (len(kind), 2))
    output = ModelOutput(
        n_images,
        np.concatenate(index).astype(np.int64),
        label.astype(np.int64),
        np.concatenate(scores),
        features.astype(np.float32) if width else None,
        logits.astype(np.float32),
        np.concatenate(boxes).astype(np.float32),
        context.astype(np.float32),
        frame_context=random.uniform(0, 1, (n_images, len(columns.FRAME_CONTEXT))).astype(np.float32),
    )
    return output, truths


METRES: Final = 0.05
"""Of a pixel, where boxes of images become boxes of frames."""


def upright(boxes: np.ndarray) -> np.ndarray:
    """``(U, 4)`` boxes of images as ``(U, 7)`` on the ground before the sensor: up is ahead, right is right."""
    centre, size = METRES * (boxes[:, :2] + boxes[:, 2:]) / 2, METRES * (boxes[:, 2:] - boxes[:, :2])
    place = np.stack([METRES * SIZE - centre[:, 1], METRES * SIZE / 2 - centre[:, 0]], axis=1)
    height = np.tile([-1.0, 1.5, 0.0], (len(boxes), 1))
    return np.concatenate([place, height[:, :1], size[:, ::-1], height[:, 1:]], axis=1)


def frame_detections(n_frames: int, seed: int = 0, **options: Any) -> tuple[ModelOutput, list[dict[str, Any]]]:
    """The same on the ground."""
    output, truths = detections(n_frames, seed, **options)
    context = np.full((len(output.label), len(columns.DETECTION_3D_CONTEXT)), np.nan, dtype=np.float32)
    context[:, 4:7] = output.context[:, 2:5]
    boxes = upright(output.boxes).astype(np.float32)
    return replace(output, boxes=boxes, context=context), [one | {"boxes": upright(one["boxes"])} for one in truths]


class BoxRun:
    """Tables of one run, read as the store reads them: in batches, narrowed by dataset_type."""

    def __init__(self, parts: dict[str, tuple[ModelOutput, list[Any] | None]], task: Task = TASK) -> None:
        found: dict[str, list[pa.Table]] = {kind: [] for kind in ("inputs", "records", "truths")}
        start = 0
        for tag, (output, truths) in parts.items():
            inputs = input_rows(output.n_inputs, tag, start=start)
            start += output.n_inputs
            if output.frame_context is not None:
                at = inputs.schema.get_field_index("frame_context")
                rows = pa.array(list(output.frame_context), type=inputs.schema.field(at).type)
                inputs = inputs.set_column(at, inputs.schema.field(at), rows)
            found["inputs"].append(inputs)
            found["records"].append(task.predictions(output, inputs))
            found["truths"].append(task.truths([None] * output.n_inputs if truths is None else truths, inputs, None))
        self.tables = {kind: pa.concat_tables(tables) for kind, tables in found.items()}

    def read(self, kind: str, names: tuple[str, ...], tags: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
        table = self.tables[kind]
        if tags is not None:
            table = table.filter(pa.array(np.isin(table["dataset_type"].to_pylist(), tags)))
        yield from table.select(list(names)).to_batches(max_chunksize=97)
