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
