"""Boxes of cameras and of mmdetection3d in our convention, compared with KITTI's own formula and with real points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_debugger.analysis.box_conventions import from_box_object, from_camera, is_box_object
from ml_debugger.errors import InputError
from tests.helpers.kitti import KittiFrame, camera_rows, kitti_folder, lidar_rows, read_frame
from tests.helpers.mmdet3d_standins import (
    BaseInstance3DBoxes,
    CameraInstance3DBoxes,
    DepthInstance3DBoxes,
    LiDARInstance3DBoxes,
)

Float64 = NDArray[np.float64]
NAMES = ["000000", "000001", "000002", "000004", "000008", "000134", "007347"]


def read(value: Any) -> Float64:
    return np.array(value.tolist(), dtype=np.float64)


def ours(boxes: Any) -> Float64:
    return from_box_object(boxes, read, "boxes")


def corners(box: Float64) -> Float64:
    """``(8, 3)`` of one of our boxes, by the definition: along the axes of the box, then turned about z."""
    signs = np.array([[a, b, c] for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (-0.5, 0.5)])
    c, s = np.cos(box[6]), np.sin(box[6])
    return signs * box[3:6] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box[:3]


def kitti_corners(row: Float64) -> Float64:
    """``(8, 3)`` in camera axes, as KITTI's development kit computes them from the bottom's middle, l h w and ry."""
    x, y, z, length, height, width, ry = row
    inside = np.array([[a * length, b * height, c * width] for a in (-0.5, 0.5) for b in (-1, 0) for c in (-0.5, 0.5)])
    c, s = np.cos(ry), np.sin(ry)
    return inside @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + [x, y, z]


def same_places(first: Float64, second: Float64, tolerance: float) -> bool:
    """Whether two sets of corners are one, in any order."""
    distance = np.linalg.norm(first[:, None] - second[None], axis=2)
    return bool((distance.min(axis=0) < tolerance).all() and (distance.min(axis=1) < tolerance).all())


number = st.floats(-50, 50)
size = st.floats(0.01, 20)
rows = st.tuples(number, number, number, size, size, size, st.floats(-7, 7)).map(np.array)


@given(rows)
def test_a_camera_box_keeps_its_corners(row: Float64) -> None:
    (box,) = ours(CameraInstance3DBoxes(row[None].tolist()))
    in_ours = kitti_corners(row)[:, [0, 2, 1]] * [1, 1, -1]
    assert same_places(corners(box), in_ours, 1e-3)


@given(rows)
def test_boxes_with_z_up_only_rise_by_half_their_height(row: Float64) -> None:
    for kind in (LiDARInstance3DBoxes, DepthInstance3DBoxes):
        (box,) = ours(kind(row[None].tolist()))
        np.testing.assert_allclose(box, row + np.array([0, 0, row[5] / 2, 0, 0, 0, 0]), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", [LiDARInstance3DBoxes, DepthInstance3DBoxes, CameraInstance3DBoxes])
def test_centres_are_those_that_the_boxes_give_themselves(kind: Any) -> None:
    boxes = kind([[1, 2, 3, 4, 5, 6, 0.5], [0, 0, 0, 1, 2, 3, -3]])
    centre = read(boxes.gravity_center)
    expected = centre[:, [0, 2, 1]] * [1, 1, -1] if kind is CameraInstance3DBoxes else centre
    np.testing.assert_allclose(ours(boxes)[:, :3], expected)
    given_centre = kind([[1, 2, 3, 4, 5, 6, 0.5]], origin=(0.5, 0.5, 0.5))
    assert sorted(np.abs(ours(given_centre)[0, :3])) == [1, 2, 3]


def test_a_velocity_is_left_out_and_boxes_without_yaw_have_yaw_0() -> None:
    moving = LiDARInstance3DBoxes([[1, 2, 3, 4, 5, 6, 0.5, 8, np.nan]], box_dim=9)
    np.testing.assert_allclose(ours(moving), [[1, 2, 6, 4, 5, 6, 0.5]])
    np.testing.assert_allclose(ours(DepthInstance3DBoxes([[1, 2, 3, 4, 5, 6]], box_dim=6)), [[1, 2, 6, 4, 5, 6, 0]])


def test_the_object_is_not_altered() -> None:
    boxes = CameraInstance3DBoxes([[1, 2, 3, 4, 5, 6, 0.5]])
    before = boxes.tensor.clone()
    from_box_object(boxes, lambda tensor: tensor.numpy(), "boxes")
    assert (boxes.tensor == before).all()


def test_no_boxes_have_a_shape() -> None:
    assert ours(CameraInstance3DBoxes([])).shape == (0, 7)
    assert ours(LiDARInstance3DBoxes([], box_dim=9)).shape == (0, 7)
    assert from_camera(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0)).shape == (0, 7)


def test_what_does_not_say_which_way_is_up_is_refused() -> None:
    class LiDARBefore10:
        """As `LiDARInstance3DBoxes` before 1.0, whose yaw began at another axis: without ``YAW_AXIS``."""

        tensor = gravity_center = np.zeros((1, 7))

    for boxes in (BaseInstance3DBoxes(np.zeros((1, 7))), LiDARBefore10()):
        assert is_box_object(boxes)
        with pytest.raises(InputError, match=r"^boxes: expected LiDARInstance3DBoxes.*1\.0 or newer.*give an array"):
            ours(boxes)
    with pytest.raises(InputError, match=r"boxes \(U, 7\).*got shape \(1, 5\)"):
        ours(LiDARInstance3DBoxes(np.zeros((1, 5)), box_dim=5))
    assert not is_box_object(np.zeros((1, 7)))


def inside(points: Float64, box: Float64) -> int:
    """How many points are in one of our boxes, by the definition."""
    c, s = np.cos(box[6]), np.sin(box[6])
    local = (points - box[:3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return int((np.abs(local) <= box[3:6] / 2).all(axis=1).sum())


@pytest.fixture(params=NAMES)
def frame(request: pytest.FixtureRequest) -> KittiFrame:
    return read_frame(kitti_folder(), request.param)


@pytest.mark.data
def test_kittis_boxes_in_both_sensors_hold_the_same_points(frame: KittiFrame) -> None:
    """The camera's levelled axes and the LiDAR's, tied by the calibration of the recording."""
    camera = ours(CameraInstance3DBoxes(camera_rows(frame)))
    lidar = ours(LiDARInstance3DBoxes(lidar_rows(frame)))
    levelled = frame.to_camera(frame.points)[:, [0, 2, 1]] * [1, 1, -1]
    seen = 0
    for one, other, name in zip(camera, lidar, frame.names, strict=True):
        moved = frame.to_camera(corners(other))[:, [0, 2, 1]] * [1, 1, -1]
        assert same_places(corners(one), moved, 0.03 * np.linalg.norm(one[3:6])), (
            name
        )  # the sensors are tilted a little
        counts = inside(levelled, one), inside(frame.points, other)
        assert abs(counts[0] - counts[1]) <= 0.15 * max(counts) + 5, (name, counts)
        seen += min(counts)
    assert seen > 0


@pytest.mark.data
def test_a_wrong_convention_would_be_seen_in_real_points() -> None:
    """Taking the bottom's middle for the centre, or turning the other way, loses points of the nearest car."""
    found = read_frame(kitti_folder(), "000008")
    boxes = ours(LiDARInstance3DBoxes(lidar_rows(found)))
    counts = [inside(found.points, box) for box in boxes]
    sunk, turned = boxes.copy(), boxes.copy()
    sunk[:, 2] -= sunk[:, 5] / 2
    turned[:, 6] += np.pi / 2
    assert sum(counts) > 1000
    for wrong in (sunk, turned):
        assert sum(inside(found.points, box) for box in wrong) < 0.8 * sum(counts)
