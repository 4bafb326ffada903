"""From metres to pixels and back to what a person expects: forward is up, left is left."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.presentation.bev_view import View, look_at, overlook, round_step
from tests.helpers.examples import CAR

SIZE = (560, 420)
VIEW = View((10.0, 0.0), 10.0, (100.0, 50.0, 300.0, 250.0))  # 20 m x 20 m around 10 m ahead


def test_forward_is_up_and_left_is_left():
    assert VIEW.pixels(np.array([10.0, 0.0])).tolist() == [200.0, 150.0]
    assert VIEW.pixels(np.array([[15.0, 0.0], [10.0, 5.0]])).tolist() == [[200.0, 100.0], [150.0, 150.0]]
    assert VIEW.origin == (200.0, 250.0)
    assert VIEW.reach == (10.0, 10.0)
    assert VIEW.shows(np.array([[10.0, 9.0], [10.0, 11.0], [21.0, 0.0]])).tolist() == [True, False, False]


def test_boxes_are_turned_as_they_are_in_the_scene():
    front_left = VIEW.outline((10.0, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0))[0]
    assert front_left.tolist() == pytest.approx([190.0, 130.0])
    turned_left = VIEW.outline((10.0, 0.0, 0.0, 4.0, 2.0, 1.0, np.pi / 2))
    front = (turned_left[0] + turned_left[3]) / 2
    assert front.tolist() == pytest.approx([180.0, 150.0])
    assert VIEW.around((10.0, 0.0, 0.0, 4.0, 2.0, 1.0, np.pi / 2)).tolist() == pytest.approx([180, 140, 220, 160])
    assert VIEW.around((10.0, 30.0, 0.0, 4.0, 2.0, 1.0, 0.0)).tolist() == pytest.approx([100, 130, 100, 170])


@pytest.mark.parametrize(("span", "most", "step"), [(10, 5, 2), (11, 5, 5), (0.9, 4, 0.5), (1e6, 5, 2e5), (5, 5, 1)])
def test_rings_have_round_distances(span, most, step):
    assert round_step(span, most) == pytest.approx(step)


def test_rings_are_those_in_the_view():
    assert VIEW.rings(5) == [5.0, 10.0, 15.0, 20.0]
    far = View((100.0, 0.0), 10.0, (0.0, 0.0, 100.0, 100.0))
    assert far.rings(5) == [95.0, 100.0, 105.0]
    for view in (VIEW, far):
        for radius in view.rings(5):
            for left, top in view.exits(radius, (20.0, 12.0)):
                assert view.frame[0] <= left <= view.frame[2] + 4
                assert view.frame[1] <= top <= view.frame[3]
    assert all(list(VIEW.exits(radius, (20.0, 12.0))) for radius in VIEW.rings(5))


@pytest.mark.parametrize(
    "box",
    [
        CAR,
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (1e6, -1e6, 0.0, 1.0, 1.0, 1.0, 40.0),
        (5.0, 5.0, 0.0, 1e5, 1e-3, 1.0, 0.3),
        (3.0, 0.0, 0.0, 0.6, 0.6, 1.8, 0.0),
    ],
)
def test_what_a_picture_is_about_is_whole_and_large(box):
    view = look_at([box], SIZE)
    corners = view.outline(box)
    assert (corners >= 0).all()
    assert (corners <= SIZE).all()
    np.testing.assert_allclose(corners.mean(axis=0), (280, 210), atol=1e-3)
    assert min(view.reach) <= 1.5 * max(box[3:5]) + 3.6
    assert len(view.rings(5)) <= 6


def test_two_boxes_are_both_in_the_picture():
    pair = [CAR, (40.0, -20.0, 0.0, 4.0, 2.0, 1.5, 1.0)]
    view = look_at(pair, SIZE)
    for box in pair:
        assert (view.outline(box) >= 0).all()
        assert (view.outline(box) <= SIZE).all()


def test_the_map_holds_the_sensor_the_part_and_the_scene():
    part, frame = look_at([CAR], SIZE), (400.0, 10.0, 540.0, 150.0)
    stray = (1e5, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0)
    points = np.random.default_rng(0).uniform(-60, 60, (1000, 2))
    whole = overlook(part, [CAR, stray], points, frame)
    assert whole.shows(np.array([[0.0, 0.0], part.centre])).all()
    assert whole.shows(points).mean() > 0.98
    assert max(whole.reach) < 80  # a box gone astray does not shrink it
    for few in (points[:0], points[:5]):
        assert overlook(part, [CAR, stray], few, frame).shows(np.array([[1e5, 0.0]])).all()
