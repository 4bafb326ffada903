"""What is inside boxes and how far the border is: by hand and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.box_points import border_distance, inside_of
from ml_debugger.analysis.boxes_3d import bev_corners
from tests.helpers.boxes_3d_reference import holds

RANGE = np.array([0, -40, -3, 70.4, 40, 1])


def test_by_hand() -> None:
    points = np.array([(9, 0, 0, 7), (11, 0, 0, 7), (10, 0.5, 1, 7), (10, 0, 5, 7), (30, 0, 0, 7)], dtype=np.float32)
    boxes = np.array(
        [
            (10, 0, 0.5, 4, 2, 2, 0),  # of three points: half as long, a quarter as wide, half as high
            (10, 0, 0.5, 4, 2, 2, np.pi / 2),  # turned: a quarter or half of the other side
            (30, 0, 0, 1, 1, 1, 1),
            (50, 0, 0, 1, 1, 1, 0),
            (10, 0, 0, 0, 2, 2, 0),  # of no extent
            (np.nan, 0, 0, 4, 2, 2, 0),
        ]
    )
    found = inside_of(points, boxes)
    assert found[:, 0].tolist() == [3, 3, 1, 0, 0, 0]
    np.testing.assert_allclose(found[:2, 1:], [[0.5, (0.5 + 0.25) / 2], [0.5, (0.125 + 1.0) / 2]], atol=1e-6)
    assert (found[2:, 1:] == 0).all()


@pytest.mark.parametrize(("n_points", "n_boxes"), [(0, 3), (4, 0), (0, 0)])
def test_nothing(n_points: int, n_boxes: int) -> None:
    boxes = np.tile([0.0, 0, 0, 1, 1, 1, 0], (n_boxes, 1)).reshape(-1, 7)
    found = inside_of(np.full((n_points, 3), 9.0), boxes)
    assert found.shape == (n_boxes, 3)
    assert (found == 0).all()
    assert border_distance(boxes, RANGE).shape == (n_boxes,)


number = st.integers(-4, 4).map(float)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(number, number, number), max_size=12),
    st.lists(st.tuples(number, number, number, *[st.sampled_from([0.0, 1.5, 5.0])] * 3, st.floats(-4, 4)), max_size=4),
)
def test_are_those_of_plain_loops(points: list[tuple[float, ...]], boxes: list[tuple[float, ...]]) -> None:
    found = inside_of(np.array(points).reshape(-1, 3), np.array(boxes).reshape(-1, 7))
    for row, box in zip(found, boxes, strict=True):
        own = np.array([point for point in points if holds(box, point)]).reshape(-1, 3)
        assert row[0] == len(own)
        if len(own):
            turned = own[:, :2] @ np.array([[np.cos(box[6]), -np.sin(box[6])], [np.sin(box[6]), np.cos(box[6])]])
            spans = np.ptp(np.column_stack([turned, own[:, 2]]), axis=0) / box[3:6]
            np.testing.assert_allclose(row[1:], [spans[2], spans[:2].mean()], atol=1e-9)


def test_the_border_is_the_nearest_side() -> None:
    random = np.random.default_rng(0)
    boxes = np.concatenate(
        [
            random.uniform(RANGE[:3], RANGE[3:], (20, 3)),
            random.uniform(0.5, 5, (20, 3)),
            random.uniform(-7, 7, (20, 1)),
        ],
        axis=1,
    )
    boxes[0, :2], boxes[1, :2] = (-10, 0), (35, 0)
    corners = bev_corners(boxes)
    room = [corners[:, :, 0] - RANGE[0], RANGE[3] - corners[:, :, 0], corners[:, :, 1] - RANGE[1]]
    expected = np.min([*room, RANGE[4] - corners[:, :, 1]], axis=(0, 2))
    found = border_distance(boxes.astype(np.float32), RANGE)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[0] < 0 < found[1]
