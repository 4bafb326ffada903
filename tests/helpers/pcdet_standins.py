"""A small detector laid out as OpenPCDet's: one dict goes through all parts, and a configuration says what comes out.

What its parts put into the dict, and what its post-processing makes of it, are named and shaped as there: anchors of
one place and class each, raw scores ``batch_cls_preds (B, N, C)``, boxes ``batch_box_preds (B, N, 7)``, labels from 1
on. The weights are random but for the classes of the anchors: what matters is which number goes where.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from ml_debugger.analysis.box_kinds import BOXES_3D

PC_RANGE = (0.0, -16.0, -3.0, 32.0, 16.0, 1.0)
CELLS = 32
SIZES = torch.tensor([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]])


class AttributeDict(dict):  # type: ignore[type-arg]
    """Entries that are attributes too, as those of ``easydict``."""

    __setattr__ = dict.__setitem__

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def configuration(make: Any = AttributeDict, **changes: Any) -> Any:
    """As in ``pointpillar.yaml``."""
    suppression = make(
        MULTI_CLASSES_NMS=False, NMS_TYPE="nms_gpu", NMS_THRESH=0.01, NMS_PRE_MAXSIZE=4096, NMS_POST_MAXSIZE=500
    )
    section = {"RECALL_THRESH_LIST": [0.3, 0.5], "SCORE_THRESH": 0.3, "OUTPUT_RAW_SCORE": False} | changes
    return make(NAME="PointPillar", POST_PROCESSING=make(NMS_CONFIG=suppression, **section))


class Scatter(nn.Module):
    """How many points there are in each cell, and sums of their numbers: ``spatial_features (B, 4, y, x)``."""

    def forward(self, batch_dict: dict[str, Any]) -> dict[str, Any]:
        points, size = batch_dict["points"], int(batch_dict["batch_size"])
        low, high = (torch.tensor(PC_RANGE[part : part + 2], device=points.device) for part in (0, 3))
        cell = ((points[:, 1:3] - low) / (high - low) * CELLS).long()
        inside = ((cell >= 0) & (cell < CELLS)).all(dim=1)
        cell, points = cell[inside], points[inside]
        index = (points[:, 0].long() * CELLS + cell[:, 1]) * CELLS + cell[:, 0]
        sums = torch.zeros(size * CELLS * CELLS, 4, device=points.device)
        sums.index_add_(
            0, index, torch.cat([torch.ones_like(points[:, :1]), points[:, 3:5], points[:, 1:2] / 32], dim=1)
        )
        batch_dict["spatial_features"] = (sums / 10.0).reshape(size, CELLS, CELLS, 4).permute(0, 3, 1, 2)
        return batch_dict


class Backbone(nn.Module):
    """``spatial_features_2d (B, 8, y, x)``."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, batch_dict: dict[str, Any]) -> dict[str, Any]:
        batch_dict["spatial_features_2d"] = self.blocks(batch_dict["spatial_features"])
        return batch_dict


class Head(nn.Module):
    """An anchor of each class at each place."""

    def __init__(self, num_class: int) -> None:
        super().__init__()
        self.num_class = num_class
        self.conv_cls = nn.Conv2d(8, num_class * num_class, 1)
        self.conv_box = nn.Conv2d(8, num_class * 7, 1)

    def forward(self, batch_dict: dict[str, Any]) -> dict[str, Any]:
        features = batch_dict["spatial_features_2d"]
        shape = (len(features), -1)
        scores = self.conv_cls(features).permute(0, 2, 3, 1).reshape(*shape, self.num_class)
        deltas = self.conv_box(features).permute(0, 2, 3, 1).reshape(*shape, 7)
        anchors = self.anchors().to(features.device)
        centres = anchors[:, :3] + 0.3 * torch.tanh(deltas[..., :3])
        sizes, yaw = (
            anchors[:, 3:6] * torch.exp(0.1 * torch.tanh(deltas[..., 3:6])),
            torch.pi * torch.tanh(deltas[..., 6:]),
        )
        own = 3.0 * torch.eye(self.num_class, device=features.device).repeat(CELLS * CELLS, 1) - 8.0
        batch_dict["batch_cls_preds"] = 10.0 * torch.tanh(scores / 10.0) + own
        batch_dict["batch_box_preds"] = torch.cat([centres, sizes, yaw], dim=-1)
        batch_dict["cls_preds_normalized"] = False
        return batch_dict

    def anchors(self) -> torch.Tensor:
        """``(N, 7)`` in the order of rows, columns and classes."""
        step = (PC_RANGE[3] - PC_RANGE[0]) / CELLS
        middle = (torch.arange(CELLS) + 0.5) * step
        y, x = torch.meshgrid(middle + PC_RANGE[1], middle + PC_RANGE[0], indexing="ij")
        place = torch.stack([x, y, torch.full_like(x, -1.0)], dim=-1).reshape(-1, 1, 3).expand(-1, self.num_class, 3)
        sizes = SIZES[: self.num_class].expand(len(place), -1, 3)
        return torch.cat([place, sizes, torch.zeros(len(place), self.num_class, 1)], dim=-1).reshape(-1, 7)


class PillarDetector(nn.Module):
    """The whole: one dict in; losses in training mode, else predictions and a record of recall."""

    def __init__(self, num_class: int = 3, config: Any = None) -> None:
        super().__init__()
        self.model_cfg = configuration() if config is None else config
        self.num_class = num_class
        self.dataset = SimpleNamespace(point_cloud_range=np.array(PC_RANGE, dtype=np.float32))
        self.map_to_bev_module = Scatter()
        self.backbone_2d = Backbone()
        self.dense_head = Head(num_class)
        self.module_list = [self.map_to_bev_module, self.backbone_2d, self.dense_head]

    def forward(self, batch_dict: dict[str, Any]) -> Any:
        for part in self.module_list:
            batch_dict = part(batch_dict)
        if self.training:
            return {"loss": batch_dict["batch_cls_preds"].mean()}, {"loss_rpn": 1.0}, {}
        return self.post_processing(batch_dict)

    def post_processing(self, batch_dict: dict[str, Any]) -> Any:
        found = []
        for position in range(int(batch_dict["batch_size"])):
            scores, labels = torch.sigmoid(batch_dict["batch_cls_preds"][position]).max(dim=-1)
            boxes = batch_dict["batch_box_preds"][position]
            chosen = self._select(scores, boxes)
            found.append(
                {"pred_boxes": boxes[chosen], "pred_scores": scores[chosen], "pred_labels": labels[chosen] + 1}
            )
        return found, {"gt": 0}

    def _select(self, scores: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Positions of boxes that no better one overlaps, of whatever class, best first."""
        config = self.model_cfg.POST_PROCESSING
        places = (scores >= config.SCORE_THRESH).nonzero()[:, 0]
        places = places[scores[places].argsort(descending=True, stable=True)][: config.NMS_CONFIG.NMS_PRE_MAXSIZE]
        rows = boxes[places].detach().float().cpu().numpy()
        overlaps = BOXES_3D.iou_matrix(rows, rows) > config.NMS_CONFIG.NMS_THRESH
        stays = np.ones(len(rows), dtype=bool)
        for row in range(len(rows)):
            if stays[row]:
                stays[row + 1 :] &= ~overlaps[row, row + 1 :]
        kept = torch.from_numpy(np.flatnonzero(stays)).to(places.device)
        return places[kept[: config.NMS_CONFIG.NMS_POST_MAXSIZE]]


def pillar_detector(seed: int = 0, **arguments: Any) -> PillarDetector:
    """One with random weights, ready to predict."""
    torch.manual_seed(seed)
    detector = PillarDetector(**arguments)
    with torch.no_grad():
        detector.backbone_2d.blocks[0].bias.zero_()
        for layer in (detector.dense_head.conv_cls, detector.dense_head.conv_box):
            layer.weight.normal_(0, 20.0)
            layer.bias.zero_()
    return detector.eval()


def cloud(n_points: int = 600, seed: int = 0) -> np.ndarray:
    """``(N, 4)`` float32 points with intensity, in clusters."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(PC_RANGE[:2], PC_RANGE[3:5], size=(12, 2))[rng.integers(0, 12, n_points)]
    place = centre + rng.normal(0, 0.7, size=(n_points, 2))
    return np.column_stack([place, rng.uniform(-2, 0.5, n_points), rng.uniform(0, 1, n_points)]).astype(np.float32)


def batch_of(*clouds: np.ndarray, device: str = "cpu") -> dict[str, Any]:
    """As OpenPCDet's loader puts frames together."""
    rows = [np.pad(points, ((0, 0), (1, 0)), constant_values=number) for number, points in enumerate(clouds)]
    points = torch.from_numpy(np.concatenate([np.empty((0, 5), np.float32), *rows])).to(device)
    return {"points": points, "batch_size": len(clouds), "frame_id": np.arange(len(clouds))}
