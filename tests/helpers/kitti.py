"""Frames of KITTI as they lie in their files: points, labels and calibration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Read on import: tests run without the settings of the shell.
DATA = Path(os.environ.get("MLD_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def kitti_folder(name: str = "kitti_frames") -> Path:
    """A folder of KITTI's data; skips where it is absent."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no KITTI data in {DATA / name}; set MLD_TEST_DATA to the folder with real test data")
    return DATA / name


@dataclass(frozen=True)
class KittiFrame:
    """One frame.

    Attributes:
        points: ``(N, 3)`` in the axes of the LiDAR.
        names: Classes of its G objects, without DontCare.
        hwl: ``(G, 3)``.
        bottom: ``(G, 3)`` in the axes of the rectified camera.
        ry: ``(G,)`` about the camera's y.
        rotation: ``(3, 3)`` from the LiDAR to the rectified camera.
        translation: ``(3,)``.
    """

    points: Float64
    names: tuple[str, ...]
    hwl: Float64
    bottom: Float64
    ry: Float64
    rotation: Float64
    translation: Float64

    def to_camera(self, points: Float64) -> Float64:
        return points @ self.rotation.T + self.translation

    def to_lidar(self, points: Float64) -> Float64:
        return (points - self.translation) @ np.linalg.inv(self.rotation).T


def read_frame(folder: Path, name: str) -> KittiFrame:
    points = np.fromfile(folder / "velodyne" / f"{name}.bin", dtype=np.float32).reshape(-1, 4)[:, :3]
    lines = [line.split() for line in (folder / "label_2" / f"{name}.txt").read_text().splitlines()]
    objects = [line for line in lines if line and line[0] != "DontCare"]
    numbers = np.array([line[8:15] for line in objects], dtype=np.float64).reshape(-1, 7)
    calib = dict(line.split(":", 1) for line in (folder / "calib" / f"{name}.txt").read_text().splitlines() if line)
    rectify = np.array(calib["R0_rect"].split(), dtype=np.float64).reshape(3, 3)
    moved = np.array(calib["Tr_velo_to_cam"].split(), dtype=np.float64).reshape(3, 4)
    return KittiFrame(
        points.astype(np.float64),
        tuple(line[0] for line in objects),
        numbers[:, :3],
        numbers[:, 3:6],
        numbers[:, 6],
        rectify @ moved[:, :3],
        rectify @ moved[:, 3],
    )


def camera_rows(frame: KittiFrame) -> Float64:
    """``(G, 7)`` as mmdetection3d keeps camera boxes: middle of the bottom, l h w, ry."""
    return np.concatenate([frame.bottom, frame.hwl[:, [2, 0, 1]], frame.ry[:, None]], axis=1)


def lidar_rows(frame: KittiFrame) -> Float64:
    """``(G, 7)`` as mmdetection3d keeps LiDAR boxes: middle of the bottom, l w h, yaw counter-clockwise from x."""
    yaw = -frame.ry - np.pi / 2
    return np.concatenate([frame.to_lidar(frame.bottom), frame.hwl[:, [2, 1, 0]], yaw[:, None]], axis=1)
