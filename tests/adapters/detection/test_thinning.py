"""Which boxes stay, against torchvision's own suppression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.thinning import kept_positions


def crowd(n: int, seed: int = 0) -> ImageBoxes:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, size=(n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, size=(n, 2))], axis=1).astype(np.float32)
    return ImageBoxes(boxes, rng.integers(0, 3, n), rng.uniform(size=n))


def test_nothing_asked_keeps_all() -> None:
    assert kept_positions(crowd(7), {}).tolist() == list(range(7))


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_torchvisions(seed: int) -> None:
    image = crowd(60, seed)
    theirs = batched_nms(torch.tensor(image.boxes), torch.tensor(image.scores).float(), torch.tensor(image.labels), 0.4)
    kept = kept_positions(image, {"iou_thresh": 0.4})
    assert kept.tolist() == sorted(theirs.tolist())
    few = kept_positions(image, {"iou_thresh": 0.4, "max_detections_per_image": 5})
    assert few.tolist() == sorted(theirs[:5].tolist())


def test_a_threshold_counts_scores_equal_to_it() -> None:
    image = crowd(3)
    image = ImageBoxes(image.boxes, image.labels, np.array([0.2, 0.5, 0.7]))
    assert kept_positions(image, {"score_thresh": 0.5}).tolist() == [1, 2]


def test_no_box_stays_no_box() -> None:
    thinning = {"score_thresh": 0.1, "iou_thresh": 0.5, "max_detections_per_image": 3}
    assert kept_positions(crowd(0), thinning).shape == (0,)
