"""The detector of the detection demo: small, anchor-free, and trained in a minute.

Its output is what any detector may return: one dict per image of ``boxes``, ``labels`` and ``scores``, and beside them
``features``, ``logits`` and the ``candidates`` that non-maximum suppression chose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch  # noqa: TID253 - the detector is a torch module; this file is imported by the demo alone
from torch import Tensor, nn  # noqa: TID253 - likewise

from ml_debugger.demo.digit_scenes import N_CLASSES, Scenes

__all__ = ["SmallDetector", "train"]

STRIDE: Final = 8
LEAST_CANDIDATE: Final = 0.02
_WIDTH: Final = 64
_BATCH: Final = 16
_RATE: Final = 4e-3
_RARE: Final = -4.0

Detections = list[dict[str, Any]]


class SmallDetector(nn.Module):
    """One cell per 8 x 8 pixels says which digit is there and how far its box reaches, as in FCOS.

    Args:
        score_thresh: Least score of a box.
        iou_thresh: Overlap from which the worse of two boxes of one class is dropped.
    """

    def __init__(self, score_thresh: float = 0.4, iou_thresh: float = 0.4) -> None:
        super().__init__()
        self.score_thresh, self.iou_thresh = score_thresh, iou_thresh
        self.body = nn.Sequential(
            _block(3, 16, 2),
            _block(16, 32, 2),
            _block(32, _WIDTH, 2),
            _block(_WIDTH, _WIDTH, 1),
            _block(_WIDTH, _WIDTH, 1),
        )
        self.classes = nn.Conv2d(_WIDTH, N_CLASSES, 1)
        self.sides = nn.Conv2d(_WIDTH, 4, 1)
        nn.init.constant_(self.classes.bias, _RARE)  # type: ignore[arg-type]  # there is a bias

    def cells(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(B, M, 4)``, logits ``(B, M, 10)`` and features ``(B, M, 64)`` of the M cells of B images."""
        found = self.body(images)
        features, logits, sides = (part.flatten(2).mT for part in (found, self.classes(found), self.sides(found)))
        centre = centres(found.shape[2], found.shape[3])
        reach = STRIDE * sides.clamp(max=5).exp()
        return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], -1), logits, features

    def forward(self, images: Tensor) -> Detections:
        """The boxes of images ``(B, 3, H, W)``, one dict each."""
        boxes, logits, features = self.cells(images)
        return [self._detect(*parts) for parts in zip(boxes, logits, features, strict=True)]

    def _detect(self, boxes: Tensor, logits: Tensor, features: Tensor) -> dict[str, Any]:
        scores = logits.sigmoid()
        score, label = scores.max(1)
        kept = _suppress(boxes, label, score, self.score_thresh, self.iou_thresh)
        seen = score > LEAST_CANDIDATE
        return {
            "boxes": boxes[kept],
            "labels": label[kept],
            "scores": score[kept],
            "features": features[kept],
            "logits": logits[kept],
            "candidates": {"boxes": boxes[seen], "scores": scores[seen]},
        }


def centres(n_rows: int, n_columns: int) -> Tensor:
    """``(M, 2)`` x and y of the middles of the cells in pixels."""
    y, x = torch.meshgrid(torch.arange(n_rows), torch.arange(n_columns), indexing="ij")
    return STRIDE * (torch.stack([x, y], -1).reshape(-1, 2) + 0.5)


def train(
    scenes: Scenes,
    ids: list[int],
    seed: int,
    epochs: int,
    shown: Callable[[Iterable[int]], Iterable[int]] = lambda epochs: epochs,
) -> SmallDetector:
    """A detector trained from scratch on some scenes.

    Args:
        scenes: The annotated images.
        ids: Which of them.
        seed: Chooses weights and order.
        epochs: How often it sees each image.
        shown: Wraps the epochs, for a progress bar.
    """
    torch.manual_seed(seed)
    model = SmallDetector().train()
    images = torch.from_numpy(scenes.images[ids])
    side = images.shape[-1] // STRIDE
    goals = [_goals(target, centres(side, side)) for target in scenes.annotations(ids)]
    classes, boxes = (torch.stack(part) for part in zip(*goals, strict=True))
    n_steps = -(-len(ids) // _BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * n_steps)
    order = np.random.default_rng(seed)
    for _ in shown(range(epochs)):
        for part in np.array_split(order.permutation(len(ids)), n_steps):
            chosen = torch.from_numpy(part)
            optimizer.zero_grad()
            found, logits, _ = model.cells(images[chosen])
            _loss(found, logits, boxes[chosen], classes[chosen]).backward()  # type: ignore[no-untyped-call]  # in torch
            optimizer.step()
            schedule.step()
    return model.eval()


def _block(n_in: int, n_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


def _goals(target: dict[str, Any], centre: Tensor) -> tuple[Tensor, Tensor]:
    """What each cell should say: class ``(M,)``, -1 for nothing, and box ``(M, 4)``; the smallest that it is amid."""
    boxes, labels = torch.from_numpy(target["boxes"]), torch.from_numpy(target["labels"])
    order = (boxes[:, 2:] - boxes[:, :2]).prod(1).argsort(descending=True)
    classes, goals = torch.full((len(centre),), -1), torch.zeros(len(centre), 4)
    for box, label in zip(boxes[order], labels[order], strict=True):
        middle, reach = (box[:2] + box[2:]) / 2, ((box[2:] - box[:2]) / 4).clamp(min=STRIDE / 2)
        amid = ((centre - middle).abs() <= reach).all(1)
        classes[amid], goals[amid] = label, box
    return classes, goals


def _loss(found: Tensor, logits: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Focal loss of the classes and generalised IoU loss of the boxes, per cell that has a digit."""
    there = classes >= 0
    wanted = nn.functional.one_hot(classes.clamp(min=0), N_CLASSES) * there[..., None]
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none")
    missing = (wanted - logits.sigmoid()).abs()
    focal = (missing**2 * entropy).sum()
    return (focal + (1 - _generalised_iou(found[there], boxes[there])).sum()) / there.sum().clamp(min=1)


def _generalised_iou(one: Tensor, other: Tensor) -> Tensor:
    """``(N,)`` overlap of boxes ``(N, 4)`` pair by pair, below 0 for those apart."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    shared, hull = (high - low).clamp(min=0).prod(1), around.prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    return shared / union - (hull - union) / hull


def _suppress(boxes: Tensor, label: Tensor, score: Tensor, least: float, most: float) -> Tensor:
    """Positions of the boxes that no better box of their class overlaps by more than ``most``, best first."""
    order = torch.nonzero(score >= least)[:, 0]
    order = order[score[order].argsort(descending=True)]
    low = torch.maximum(boxes[order, None, :2], boxes[None, order, :2])
    high = torch.minimum(boxes[order, None, 2:], boxes[None, order, 2:])
    shared, area = (high - low).clamp(min=0).prod(2), (boxes[order, 2:] - boxes[order, :2]).prod(1)
    rival = (shared > most * (area[:, None] + area[None] - shared)) & (label[order, None] == label[None, order])
    stays = np.ones(len(order), dtype=bool)
    beaten_by = rival.numpy()
    for place in range(len(order)):
        if stays[place]:
            stays[place + 1 :] &= ~beaten_by[place, place + 1 :]
    return order[torch.from_numpy(stays)]
