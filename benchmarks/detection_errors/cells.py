"""Blood cells: a torchvision detector trained once by `train_bccd`, read through the product's own adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.detection_errors.data import Detector, Images, Proposals
from ml_debugger.types import ModelOutput

__all__ = ["cell_detector", "load_cells", "read_images"]

SPLITS: Final = ("val", "test")
BATCH: Final = 8
LEAST_SCORE: Final = 0.01  # of the candidates that the rivals see
MANY: Final = 1000

Settings = dict[str, Any]


def load_cells(folder: Path, splits: Sequence[str] = SPLITS) -> Images:
    """The images that the detector was not trained on, with COCO annotations of their boxes."""
    from PIL import Image

    from benchmarks.detection_errors.train_bccd import read_split

    found = [read_split(folder, split) for split in splits]
    files = tuple(path for cells in found for path in cells.files)
    sizes = []
    for path in files:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    boxes = [box for cells in found for box in cells.boxes]
    labels = [label for cells in found for label in cells.labels]
    annotations = tuple(
        [
            {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label}
            for (x1, y1, x2, y2), label in zip(box.tolist(), label.tolist(), strict=True)
        ]
        for box, label in zip(boxes, labels, strict=True)
    )
    return Images(np.arange(len(files)), files, np.array(sizes), annotations)


def cell_detector(weights: Path, images: Images, cache: Path) -> Detector:
    """The trained detector; what it says of the images is kept in a folder, by its weights.

    Rivals see every candidate of at least `LEAST_SCORE`: the detector asked for its boxes without suppression.
    """
    mark = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    models: list[Any] = []

    def read(name: str, settings: Settings) -> ModelOutput:
        path = cache / f"bccd_{mark}_{name}.npz"
        if not path.exists():
            from benchmarks.detection_errors.train_bccd import load

            models[:] = models or [load(weights)]
            _save(path, read_images(models[0], images.files, settings))
        return _load(path)

    everything = {"score_thresh": LEAST_SCORE, "iou_thresh": 1.0, "max_detections_per_image": MANY}
    found = read("candidates", everything)
    order = np.argsort(found.input_index, kind="stable")
    proposals = Proposals(
        np.asarray(found.input_index)[order],
        np.asarray(found.boxes, dtype=np.float32)[order],
        np.asarray(found.score, dtype=np.float64)[order],
        np.asarray(found.label)[order],
        suppressed=False,
    )
    return Detector(images, proposals, lambda threshold: read(f"{threshold:g}", {"score_thresh": threshold}))


def read_images(model: Any, files: Sequence[Path], settings: Settings) -> ModelOutput:
    """What the adapter reads of all images, batch by batch, as a Tracer with these settings would."""
    import torch
    from PIL import Image

    from ml_debugger.adapters import find_adapter

    adapter = find_adapter(model, None, "object_detection", **settings)
    parts = []
    with torch.no_grad():
        for start in range(0, len(files), BATCH):
            batch = []
            for path in files[start : start + BATCH]:
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0
                batch.append(torch.from_numpy(pixels).permute(2, 0, 1))
            parts.append(adapter.run(batch, len(batch))[1])
    return _joined(parts)


def _joined(parts: Sequence[ModelOutput]) -> ModelOutput:
    """One output of all batches."""
    starts = np.cumsum([0, *(part.n_inputs for part in parts)])
    values: dict[str, Any] = {"n_inputs": int(starts[-1])}
    for field in fields(ModelOutput)[1:]:
        found = [getattr(part, field.name) for part in parts]
        if field.name == "input_index":
            found = [index + start for index, start in zip(found, starts, strict=False)]
        values[field.name] = None if any(one is None for one in found) else np.concatenate(found)
    return ModelOutput(**values)


def _save(path: Path, output: ModelOutput) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {field.name: getattr(output, field.name) for field in fields(ModelOutput)}
    np.savez(path, **{name: value for name, value in given.items() if value is not None})


def _load(path: Path) -> ModelOutput:
    with np.load(path) as stored:
        values = dict(stored)
    return ModelOutput(int(values.pop("n_inputs")), **values)
