"""The ways in which 3D boxes are written, and ours: geometric centre x y z, sizes dx dy dz along the box's axes, yaw.

Metres and radians; z points up, yaw turns counter-clockwise about it and is 0 along x. Boxes of a camera are told in
the axes of the camera, levelled: x right, y forward, z up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError

__all__ = ["BOX_WIDTH", "ROW_WIDTHS", "describe_rows", "from_box_object", "from_camera", "is_box_object"]

BOX_WIDTH: Final = 7
ROW_WIDTHS: Final = (7, 9)
"""Widths of a row: a box, or one with its velocity vx vy behind it, which is left out."""

UP_AXIS: Final = 2
CAMERA_DOWN_AXIS: Final = 1

HINTS: Final = {
    4: "; boxes of images belong to 2D object detection",
    6: "; append a column of zeros where boxes have no yaw",
    8: "; give the labels apart from the boxes",
    10: "; give the labels apart from the boxes",
}
"""What to do about rows of another width."""

Array = NDArray[Any]


def describe_rows(letter: str, shape: tuple[int, ...]) -> str:
    """What was expected of boxes, by the letter of their number, and what to do about a shape that is not right."""
    hint = HINTS.get(shape[1], "") if len(shape) == 2 else ""
    hint = "; for one box use shape (1, 7)" if shape == (BOX_WIDTH,) else hint
    return (
        f"boxes ({letter}, 7), centre x y z, sizes dx dy dz in metres and yaw in radians, or ({letter}, 9) with the "
        f"velocity behind them, got shape {shape}{hint}"
    )


def from_camera(centre: Array, sizes: Array, yaw: Array) -> Array:
    """Boxes in the axes of a camera (x right, y down, z forward) as ``(U, 7)`` in ours.

    KITTI gives the middle of the bottom and ``h w l``: its centre lies ``h / 2`` less in y, its sizes are ``l h w``.

    Args:
        centre: ``(U, 3)`` geometric centres, metres.
        sizes: ``(U, 3)`` sizes along the box's own x, y and z, metres.
        yaw: ``(U,)`` radians about y, 0 along x, as KITTI's ``rotation_y``.

    >>> bottom, h, w, l = np.array([[2.0, 1.5, 20.0]]), 1.5, 1.6, 4.0
    >>> from_camera(bottom - [0, h / 2, 0], np.array([[l, h, w]]), np.array([-1.5])).tolist()
    [[2.0, 20.0, -0.75, 4.0, 1.6, 1.5, 1.5]]
    """
    turned = np.stack([centre[:, 0], centre[:, 2], -centre[:, 1], *sizes[:, [0, 2, 1]].T, -yaw], axis=1)
    return np.asarray(turned, dtype=np.result_type(centre, sizes, yaw))


def is_box_object(value: Any) -> bool:
    """Whether a value is one of mmdetection3d's collections of boxes, which hold the middles of their bottoms."""
    return hasattr(value, "tensor") and (hasattr(value, "YAW_AXIS") or hasattr(value, "gravity_center"))


def from_box_object(value: Any, read: Callable[[Any], Array], where: str) -> Array:
    """``(U, 7)`` boxes of an object of mmdetection3d: see `is_box_object`.

    Args:
        value: ``LiDARInstance3DBoxes``, ``DepthInstance3DBoxes`` or ``CameraInstance3DBoxes`` (1.0 or newer), or
            anything with their ``tensor`` and ``YAW_AXIS``. What stands behind the yaw, as the velocity, is left out.
        read: Makes an array of a tensor.
        where: What the boxes are, for messages.

    Raises:
        InputError: If it does not say which way is up, or holds no boxes.
    """
    axis = getattr(value, "YAW_AXIS", None)
    if axis not in (UP_AXIS, CAMERA_DOWN_AXIS):
        raise InputError(
            f"{where}: expected LiDARInstance3DBoxes, DepthInstance3DBoxes or CameraInstance3DBoxes of mmdetection3d "
            f"1.0 or newer, got {type(value).__name__} with YAW_AXIS {axis}; or give an array (U, 7) of centre x y z, "
            "sizes dx dy dz and yaw, z up"
        )
    rows = read(value.tensor)
    if rows.size == 0:
        return np.zeros((0, BOX_WIDTH), dtype=rows.dtype)
    if rows.ndim != 2 or rows.shape[1] < BOX_WIDTH:
        raise InputError(f"{where}: expected {describe_rows('U', rows.shape)}")
    centre, sizes, yaw = rows[:, :3].copy(), rows[:, 3:6], rows[:, 6]
    if axis == CAMERA_DOWN_AXIS:
        centre[:, 1] -= sizes[:, 1] / 2
        return from_camera(centre, sizes, yaw)
    centre[:, 2] += sizes[:, 2] / 2
    return np.concatenate([centre, sizes, yaw[:, None]], axis=1)
