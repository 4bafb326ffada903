"""Points in boxes: by hand, against plain loops, in any number of pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis import boxes as flat_module
from ml_debugger.analysis.points_in_boxes import points_in_boxes
from tests.helpers.boxes_3d_reference import holds

number = st.one_of(st.integers(-6, 6).map(float), st.floats(-9, 9, width=32))
odd = st.sampled_from([float("nan"), float("inf"), -1e30])
point = st.tuples(*[st.one_of(number, number, number, odd)] * 3)
side = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 1e6])
box = st.tuples(number, number, number, side, side, side, st.floats(-7, 7))


def as_pairs(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(*(column.tolist() for column in found), strict=True))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(*[st.integers(-2, 2).map(float)] * 3), max_size=12), st.lists(box, max_size=6))
def test_no_point_is_counted_twice_where_many_share_a_column(points, boxes) -> None:
    found = as_pairs(points_in_boxes(np.array(points).reshape(-1, 3), np.array(boxes, dtype=float).reshape(-1, 7)))
    assert len(set(found)) == len(found)


def test_by_hand() -> None:
    cloud = np.array([(0, 0, 0), (2, 1, 1), (2.01, 0, 0), (0, 0, 1.1), (9, 9, 9), (np.nan, 0, 0)])
    boxes = np.array([(0, 0, 0, 4, 2, 2, 0), (9, 9, 9, 0, 0, 0, 0), (0, 0, 0, 4, 2, 2, math.pi / 2)])
    assert as_pairs(points_in_boxes(cloud, boxes)) == [(0, 0), (0, 1), (2, 0)]  # the border belongs to a box


@settings(deadline=None, max_examples=200)
@given(st.lists(point, max_size=12), st.lists(box, max_size=6))
def test_are_those_of_plain_loops(points, boxes) -> None:
    cloud = np.array(points, dtype=float).reshape(-1, 3)
    found = as_pairs(points_in_boxes(cloud, np.array(boxes, dtype=float).reshape(-1, 7)))
    expected = [
        (i, j) for i, b in enumerate(boxes) for j, p in enumerate(points) if np.isfinite(p).all() and holds(b, p)
    ]
    assert found == expected


@pytest.mark.parametrize("max_pairs", [3, 100_000])
def test_a_dense_cloud_in_pieces(max_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat_module, "MAX_PAIRS", max_pairs)
    random = np.random.default_rng(0)
    cloud = random.normal(0, 20, (400, 4)).astype(np.float32)
    boxes = np.concatenate([random.normal(0, 15, (9, 3)), random.uniform(5, 30, (9, 3)), random.random((9, 1))], axis=1)
    found = points_in_boxes(cloud, boxes.astype(np.float32))
    exact = boxes.astype(np.float32).astype(float)
    expected = [(i, j) for i, b in enumerate(exact) for j, p in enumerate(cloud.astype(float)) if holds(b, p)]
    assert as_pairs(found) == expected
    assert len(expected) > 50
    assert found[0].dtype == found[1].dtype == np.int64


@pytest.mark.parametrize(("n_points", "n_boxes"), [(0, 0), (0, 2), (2, 0)])
def test_nothing_has_a_shape(n_points: int, n_boxes: int) -> None:
    at, inside = points_in_boxes(np.zeros((n_points, 3)), np.ones((n_boxes, 7)))
    assert at.shape == inside.shape == (0,)
    assert at.dtype == inside.dtype == np.int64
