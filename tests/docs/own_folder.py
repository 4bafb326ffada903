"""The folder that the README takes for granted: images, annotations of most of them in COCO's format, and weights.

Only that the code runs is tested here, so the weights are untrained; what the page shows was printed for real cells.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from ml_debugger.demo.digit_scenes import make_scenes

__all__ = ["make_folder"]

N_IMAGES = 30
N_ANNOTATED = 22
CLASSES = (1, 2, 3)


def make_folder(folder: Path) -> None:
    """Fill it with images of digits, those of three classes annotated."""
    folder.mkdir()
    scenes = make_scenes({"all": N_IMAGES}, seed=7)
    images, annotations = [], []
    for number in range(N_IMAGES):
        name = f"image_{number:05}.jpg"
        pixels = (255 * scenes.images[number].transpose(1, 2, 0)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=95)
        if number < N_ANNOTATED:
            images.append({"id": number, "file_name": name, "width": 128, "height": 128})
            annotations += _annotated(number, scenes.targets[number])
    categories = [{"id": label, "name": str(label)} for label in CLASSES]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(coco))
    torch.manual_seed(0)
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=1 + len(CLASSES))
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias[CLASSES[0]] += 2  # so that its scores pass a threshold
    torch.save(detector.state_dict(), folder / "detector.pt")


def _annotated(image_id: int, target: dict[str, np.ndarray]) -> list[dict[str, object]]:
    corners = zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
    return [
        {"id": 100 * image_id + n, "image_id": image_id, "category_id": label, "iscrowd": 0}
        | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for n, ((x1, y1, x2, y2), label) in enumerate(corners)
        if label in CLASSES
    ]
