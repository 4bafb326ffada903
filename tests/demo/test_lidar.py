"""The LiDAR of the 3D demo: points lie on what rays meet first, on rings, and fewer come back from far and dark."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.demo import lidar
from ml_debugger.demo.lidar import GROUND, SENSOR_HEIGHT, Lidar, Solids


def flat(x, y):
    return np.full(np.shape(x), -SENSOR_HEIGHT)


def solids(*boxes, is_round=False, reflects=0.5, lets_through=0.0):
    count = len(boxes)
    return Solids(
        np.array(boxes, dtype=float).reshape(-1, 7),
        np.broadcast_to(is_round, count),
        np.full(count, reflects),
        np.full(count, lets_through),
    )


def scan(things, ground=flat, field=41.0, seed=0):
    return Lidar(field).scan(things, ground, np.random.default_rng(seed))


def test_points_of_flat_ground_lie_on_it_and_on_rings():
    found = scan(solids())
    assert (found.solid == GROUND).all()
    assert found.points.dtype == np.float32
    assert found.points.shape[1] == 4
    np.testing.assert_allclose(found.points[:, 2], -SENSOR_HEIGHT, atol=0.05)
    radius = np.linalg.norm(found.points[:, :3], axis=1)
    elevation = np.degrees(np.arcsin(found.points[:, 2] / radius))
    rings = np.degrees(Lidar().elevation)
    assert len(rings) == 64
    assert np.abs(elevation[:, None] - rings).min(1).max() < 0.01
    assert 4 < np.hypot(*found.points[:, :2].T).min() * np.tan(np.radians(24.33)) / SENSOR_HEIGHT * 4.2 < 4.4
    assert ((found.points[:, 3] >= 0) & (found.points[:, 3] <= 1)).all()


def test_columns_stay_in_the_field():
    for field in (41.0, 180.0):
        azimuth = np.degrees(np.arctan2(*scan(solids(), field=field).points[:, 1::-1].T))
        assert np.abs(azimuth).max() <= field + 0.1
        assert np.abs(azimuth).max() > field - 1


def test_a_box_is_met_at_its_face_and_hides_what_is_behind():
    near, far = [10, 0, 0, 2, 4, 3.4, 0], [20, 0, 0, 2, 4, 3.4, 0]
    found = scan(solids(near, far))
    assert not (found.solid == 1).any()
    np.testing.assert_allclose(found.points[found.solid == 0, 0], 9.0, atol=0.1)
    assert (scan(solids(far)).solid == 0).sum() > 100
    ground = found.points[found.solid == GROUND]
    behind = (ground[:, 0] > 11) & (np.abs(ground[:, 1]) < 1.5)
    assert not behind.any()


def test_a_turned_box_is_met_on_its_two_near_sides():
    box = [15, 3, -0.5, 4, 2, 2, 0.6]
    points = scan(solids(box)).points[scan(solids(box)).solid == 0, :3] - box[:3]
    cos, sin = np.cos(0.6), np.sin(0.6)
    along, across = points[:, 0] * cos + points[:, 1] * sin, points[:, 1] * cos - points[:, 0] * sin
    on_end, on_side = np.abs(along + 2) < 0.1, np.abs(across - 1) < 0.1
    other_side = np.abs(across + 1) < 0.1
    assert (on_end | on_side | other_side).all()
    assert on_end.sum() > 50
    assert (on_side | other_side).sum() > 50


def test_an_ellipsoid_is_met_on_its_near_half():
    points = scan(solids([12, -2, 0, 2, 1, 2, 0.3], is_round=True))
    there = points.points[points.solid == 0, :3] - [12, -2, 0]
    cos, sin = np.cos(0.3), np.sin(0.3)
    local = np.stack([there[:, 0] * cos + there[:, 1] * sin, there[:, 1] * cos - there[:, 0] * sin, there[:, 2]], 1)
    radius = np.linalg.norm(local / [1, 0.5, 1], axis=1)
    assert len(radius) > 100
    assert np.abs(radius - 1).max() < 0.25
    normal, looks = local / [1, 0.25, 1], np.array([12 * cos - 2 * sin, -2 * cos - 12 * sin, 0]) / np.hypot(12, 2)
    assert (normal @ looks < 0.35).all()


def test_a_wall_beside_the_sensor_is_seen_though_its_middle_is_near():
    found = scan(solids([10, 6, 1, 30, 0.5, 6, 0]), field=180.0)
    wall = found.points[found.solid == 0]
    assert len(wall) > 1000
    assert wall[:, 0].min() < -2
    np.testing.assert_allclose(wall[:, 1].min(), 5.75, atol=0.1)


@pytest.mark.parametrize("around", [[0, 0, 0, 1, 1, 1, 0], [10, 0, 9, 2, 2, 2, 0], [-10, 0, 0, 2, 2, 2, 0]])
def test_what_is_around_above_or_behind_the_sensor_is_not_met(around):
    assert not (scan(solids(around)).solid == 0).any()


def test_rays_go_on_through_what_is_open():
    near, far = [10, 0, 0, 0.5, 4, 3.4, 0], [20, 0, 0, 2, 3, 3.4, 0]
    counts = [(scan(solids(near, far, lets_through=share)).solid == 0).sum() for share in (0.0, 0.5, 1.0)]
    assert counts[0] * 0.4 < counts[1] < counts[0] * 0.6
    assert counts[2] == 0
    halves = scan(Solids(np.array([near, far], float), np.zeros(2, bool), np.full(2, 0.5), np.array([0.5, 0.0])))
    assert (halves.solid == 1).sum() > 0.3 * (scan(solids(far)).solid == 0).sum()


def test_fewer_rays_come_back_from_far_and_dark_things():
    def share(distance, reflects):
        wall = [distance, 0, 0, 0.1, 0.4 * distance, 0.02 * distance, 0]
        return (scan(solids(wall, reflects=reflects)).solid == 0).sum()

    assert share(70, 0.05) < 0.7 * share(70, 0.7)
    assert share(70, 0.05) < 0.7 * share(20, 0.05)
    assert share(20, 0.7) > 0


def test_nothing_is_seen_beyond_reach():
    found = scan(solids([90, 0, 0, 1, 10, 3, 0]))
    assert not (found.solid == 0).any()
    assert np.linalg.norm(found.points[:, :3], axis=1).max() <= 80.1


def test_ground_may_slope_and_have_a_kerb():
    def ground(x, y):
        return 0.02 * x + 0.15 * (y > 4) - SENSOR_HEIGHT

    points = scan(solids(), ground).points
    off = points[:, 2] - ground(points[:, 0], points[:, 1])
    on_edge = np.abs(points[:, 1] - 4) < 0.5
    assert np.abs(off[~on_edge]).max() < 0.12
    assert np.abs(off[~on_edge]).mean() < 0.005
    assert (points[:, 1] > 5).sum() > 100


def test_the_noise_is_along_the_ray():
    exact = np.array([9.0])
    points = scan(solids([10, 0, 0, 2, 4, 3.4, 0])).points
    face = points[(points[:, 0] > 8.5) & (np.abs(points[:, 1]) < 1.5) & (points[:, 2] > -1)]
    along = face[:, :3] / np.linalg.norm(face[:, :3], axis=1)[:, None]
    error = np.linalg.norm(face[:, :3], axis=1) - exact / along[:, 0]
    assert 0.8 * lidar._NOISE < error.std() < 1.2 * lidar._NOISE
    assert abs(error.mean()) < 0.003
