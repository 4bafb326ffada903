"""What mmdetection3d 1.x hands out, as its own classes are laid out: boxes, instances, samples and points.

Boxes keep one row each, ``x y z x_size y_size z_size yaw`` and what follows, x y z being the middle of the bottom: by
class which axis points up, and about which one yaw turns. Fields that were never set raise ``AttributeError``.
"""

from __future__ import annotations

from typing import Any

import torch

BOTTOM = (0.5, 0.5, 0.0)


class BaseInstance3DBoxes:
    """Boxes that say nothing of which way is up."""

    YAW_AXIS = 0
    origin = BOTTOM

    def __init__(self, tensor: Any, box_dim: int = 7, with_yaw: bool = True, origin: Any = None) -> None:
        rows = torch.as_tensor(tensor, dtype=torch.float32)
        if rows.numel() == 0:
            rows = rows.reshape(0, box_dim)
        assert rows.dim() == 2
        assert rows.size(-1) == box_dim
        self.box_dim, self.with_yaw = box_dim, with_yaw
        if box_dim == 6:
            rows = torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=-1)
            self.box_dim, self.with_yaw = 7, False
        self.tensor = rows.clone()
        if origin is not None:
            self.tensor[:, :3] += self.tensor[:, 3:6] * (torch.tensor(self.origin) - torch.tensor(origin))

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Any:
        yield from self.tensor

    @property
    def dims(self) -> torch.Tensor:
        return self.tensor[:, 3:6]

    @property
    def yaw(self) -> torch.Tensor:
        return self.tensor[:, 6]

    @property
    def gravity_center(self) -> torch.Tensor:
        return self.tensor[:, :3] + self.dims * (0.5 - torch.tensor(self.origin))


class LiDARInstance3DBoxes(BaseInstance3DBoxes):
    """x front, y left, z up."""

    YAW_AXIS = 2


class DepthInstance3DBoxes(BaseInstance3DBoxes):
    """x right, y front, z up."""

    YAW_AXIS = 2


class CameraInstance3DBoxes(BaseInstance3DBoxes):
    """x right, y down, z front; the sizes along these, so ``l h w``."""

    YAW_AXIS = 1
    origin = (0.5, 1.0, 0.5)


class BasePoints:
    """Points ``(N, points_dim)``."""

    def __init__(self, tensor: Any, points_dim: int = 3) -> None:
        self.tensor = torch.as_tensor(tensor, dtype=torch.float32)
        self.points_dim = points_dim

    @property
    def shape(self) -> torch.Size:
        return self.tensor.shape

    def __len__(self) -> int:
        return len(self.tensor)


class InstanceData:
    """Fields of one length, set and read as attributes or items."""

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def keys(self) -> list[str]:
        return list(self.__dict__)

    def __len__(self) -> int:
        return len(next(iter(self.__dict__.values()), ()))


class Det3DDataSample:
    """A sample; instances that were not set cannot be read."""

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    @property
    def gt_instances_3d(self) -> InstanceData:
        return self._gt_instances_3d

    @gt_instances_3d.setter
    def gt_instances_3d(self, value: InstanceData) -> None:
        assert isinstance(value, InstanceData)
        self._gt_instances_3d = value

    @property
    def pred_instances_3d(self) -> InstanceData:
        return self._pred_instances_3d

    @pred_instances_3d.setter
    def pred_instances_3d(self, value: InstanceData) -> None:
        assert isinstance(value, InstanceData)
        self._pred_instances_3d = value


def pillar_model() -> Any:
    """A detector laid out as mmdetection3d's ``VoxelNet``, on mmengine's base: boxes in the mode ``predict`` only."""
    from mmengine.config import ConfigDict
    from mmengine.model import BaseModel

    from tests.helpers.pcdet_standins import PC_RANGE, batch_of, pillar_detector

    parts = pillar_detector()

    class BoxHead(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_classes = 3
            self.test_cfg = ConfigDict(use_rotate_nms=True, nms_thr=0.01, score_thr=0.3, nms_pre=100, max_num=50)
            self.conv = parts.dense_head

        def forward(self, x: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
            batch = self.conv({"spatial_features_2d": x[0]})
            return batch["batch_cls_preds"], batch["batch_box_preds"]

        def predict(self, x: tuple[torch.Tensor, ...]) -> list[InstanceData]:
            section = parts.model_cfg.POST_PROCESSING
            section["SCORE_THRESH"] = self.test_cfg.score_thr
            section.NMS_CONFIG["NMS_THRESH"] = self.test_cfg.nms_thr
            section.NMS_CONFIG["NMS_POST_MAXSIZE"] = self.test_cfg.max_num
            scores, boxes = self(x)
            batch = {"batch_size": len(scores), "batch_cls_preds": scores, "batch_box_preds": boxes}
            return [self.instances(found) for found in parts.post_processing(batch)[0]]

        def instances(self, found: dict[str, Any]) -> InstanceData:
            boxes = found["pred_boxes"].clone()
            boxes[:, 2] -= boxes[:, 5] / 2
            labels = found["pred_labels"] - 1
            return InstanceData(bboxes_3d=LiDARInstance3DBoxes(boxes), scores_3d=found["pred_scores"], labels_3d=labels)

    class VoxelNet(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.voxel_layer = torch.nn.Identity()
            self.voxel_layer.point_cloud_range = list(PC_RANGE)
            self.middle_encoder, self.backbone = parts.map_to_bev_module, parts.backbone_2d
            self.bbox_head = BoxHead()
            self.test_cfg = self.bbox_head.test_cfg

        def forward(self, inputs: dict[str, Any], data_samples: Any = None, mode: str = "tensor", **kwargs: Any) -> Any:
            batch = batch_of(*(points.numpy() for points in inputs["points"]))
            x = (self.backbone(self.middle_encoder(batch))["spatial_features_2d"],)
            if mode == "tensor":
                return self.bbox_head(x)
            for sample, instances in zip(data_samples, self.bbox_head.predict(x), strict=True):
                sample.pred_instances_3d = instances
            return data_samples

    return VoxelNet().eval()
