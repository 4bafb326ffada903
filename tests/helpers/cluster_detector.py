"""A small torch detector of point clouds: what stands together above the ground becomes one upright box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.helpers.street_frames import SENSOR_HEIGHT

__all__ = ["ClusterDetector"]

CELL = 0.4
EXTENT = 64.0  # of the square that is looked at, ahead of the sensor
FEW = 4


class ClusterDetector(nn.Module):
    """Takes ``(B, N, 4)`` points, or a dict of them, and answers as OpenPCDet does: boxes by frame, and recalls.

    Cells with points grow together where they touch. A cluster is turned along its longest direction; its class comes
    from its length, its score from the number of its points. Objects cut by few points come out too small or turned.
    """

    def __init__(self, score_thresh: float = 0.2) -> None:
        super().__init__()
        self.score_thresh = score_thresh
        self.lift = nn.Conv2d(1, 6, 3, padding=1)
        self.score = nn.Linear(2, 1)
        with torch.no_grad():
            self.lift.weight.copy_(torch.linspace(-1, 1, self.lift.weight.numel()).reshape(self.lift.weight.shape))
            self.score.weight.copy_(torch.tensor([[0.9, -0.02]]))
            self.score.bias.fill_(-1.2)

    def forward(self, batch: Tensor | Mapping[str, Tensor]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Boxes ``pred_boxes``, ``pred_scores`` and ``pred_labels`` (1 a car, 2 a person) of each frame."""
        points = batch["points"] if isinstance(batch, Mapping) else batch
        return [self._detect(frame) for frame in points], {}

    def _detect(self, frame: Tensor) -> dict[str, Any]:
        above = frame[(frame[:, 2] > 0.1 - SENSOR_HEIGHT) & (frame[:, 0] > 0)]
        side = int(EXTENT / CELL)
        cell = ((above[:, :2] + torch.tensor([0.0, EXTENT / 2])) / CELL).long().clamp(0, side - 1)
        grid = torch.zeros(side, side).index_put((cell[:, 0], cell[:, 1]), torch.ones(len(cell)), accumulate=True)
        features = self.lift(grid.clamp(max=9)[None, None])[0]
        name = _grown(grid)[cell[:, 0], cell[:, 1]]
        found = [
            (own, features[:, cell[name == one, 0], cell[name == one, 1]].mean(1))
            for one in name.unique()
            if len(own := above[name == one]) >= FEW
        ]
        boxes = torch.stack([_around(own) for own, _ in found]) if found else torch.zeros(0, 7)
        counts = torch.tensor([float(len(own)) for own, _ in found])
        scores = self.score(torch.stack([counts.log() / 2, boxes[:, 0]], dim=1)).sigmoid()[:, 0]
        kept = scores >= self.score_thresh
        return {
            "pred_boxes": boxes[kept],
            "pred_scores": scores[kept],
            "pred_labels": torch.where(boxes[kept, 3] > 1.6, 1, 2),
            "features": torch.stack([one for _, one in found])[kept] if found else torch.zeros(0, 6),
        }


def _grown(grid: Tensor) -> Tensor:
    """A number for each cell with points, the same for all that touch each other."""
    name = torch.arange(1.0, grid.numel() + 1).reshape(grid.shape) * (grid > 0)
    while True:
        wider = nn.functional.max_pool2d(name[None, None], 3, stride=1, padding=1)[0, 0] * (grid > 0)
        if torch.equal(wider, name):
            return name.long()
        name = wider


def _around(points: Tensor) -> Tensor:
    """``(7,)`` the box around points, down to the ground."""
    flat = points[:, :2] - points[:, :2].mean(0)
    along = torch.linalg.eigh(flat.T @ flat)[1][:, 1]
    yaw = torch.atan2(along[1], along[0])
    axes = torch.stack([along, torch.stack([-along[1], along[0]])])
    low, high = (flat @ axes.T).amin(0), (flat @ axes.T).amax(0)
    centre = points[:, :2].mean(0) + ((low + high) / 2) @ axes
    height = (points[:, 2].max() + SENSOR_HEIGHT).clamp(min=0.1)
    middle = (height / 2 - SENSOR_HEIGHT).reshape(1)
    return torch.cat([centre, middle, (high - low).clamp(min=0.1), height.reshape(1), yaw.reshape(1)])
