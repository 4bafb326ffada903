"""Turned boxes: by hand, by their properties, against plain loops, shapely and the real frames of KITTI."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis import boxes as flat_module
from ml_debugger.analysis import boxes_3d as module
from ml_debugger.analysis.boxes_3d import (
    bev_areas,
    bev_corners,
    bev_iou,
    box_corners,
    box_volumes,
    half_extents,
    has_volume,
    iou_3d,
    iter_shared_space,
    shared_areas,
)
from tests.helpers import boxes_3d_reference as slow

NAN, INF = float("nan"), float("inf")
CAR = (1.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.3)
NOTHING = [
    (0, 0, 0, 0, 1, 1, 0),
    (0, 0, 0, 1, -1, 1, 0),
    (0, 0, 0, -1, -1, 1, 0),
    (0, 0, 0, 1, 1, 0, 0),
    (NAN, 0, 0, 1, 1, 1, 0),
    (0, 0, INF, 1, 1, 1, 0),
    (0, 0, 0, INF, 1, 1, 0),
    (0, 0, 0, 1, 1, 1, NAN),
    (0, 0, 0, 1e-200, 1e-200, 1, 0),
    (0, 0, 0, 1e200, 1e200, 1, 0),
]

place = st.one_of(st.integers(-4, 4).map(float), st.floats(-8, 8, width=32))
size = st.one_of(st.integers(1, 5).map(float), st.floats(0.125, 6, width=32))
yaw = st.one_of(st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 4]), st.floats(-7, 7, width=32))
real_box = st.tuples(place, place, place, size, size, size, yaw)
odd = st.sampled_from([NAN, INF, -INF, 0.0, -1.0])
any_box = st.one_of(real_box, st.tuples(*[st.one_of(part, odd) for part in (place,) * 3 + (size,) * 3 + (yaw,)]))
pairs_of_boxes = st.lists(st.tuples(any_box, any_box), max_size=8)


def array(rows: list[tuple[float, ...]]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 7)


def both(pairs: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    return array([one for one, _ in pairs]), array([other for _, other in pairs])


def test_corners_by_hand() -> None:
    box = array([(10, 20, 5, 4, 2, 6, math.pi / 2)])
    assert bev_corners(box)[0] == pytest.approx(np.array([[9, 22], [9, 18], [11, 18], [11, 22]]))
    corners = box_corners(box)[0]
    assert corners[:4, 2].tolist() == [2] * 4
    assert corners[4:, 2].tolist() == [8] * 4
    np.testing.assert_array_equal(corners[:4, :2], corners[4:, :2])


def test_yaw_turns_counter_clockwise_seen_from_above() -> None:
    front = bev_corners(array([(0, 0, 0, 2, 1e-9, 1, math.pi / 6)]))[0, 0]
    assert front == pytest.approx([math.cos(math.pi / 6), math.sin(math.pi / 6)])


def test_overlaps_by_hand() -> None:
    one = array([(0, 0, 0, 2, 2, 2, 0)] * 6)
    other = array(
        [
            (1, 0, 1, 2, 2, 2, 0),
            (0, 0, 0, 2, 2, 2, math.pi / 4),  # a regular octagon
            (0, 0, 0, 1, 1, 1, 0.7),
            (2, 0, 0, 2, 2, 2, 0),  # touches
            (0, 0, 2, 2, 2, 2, 0),  # on top of it
            (5, 5, 0, 2, 2, 2, 0.2),
        ]
    )
    octagon = 8 * (math.sqrt(2) - 1)
    assert shared_areas(one, other) == pytest.approx([2, octagon, 1, 0, 4, 0])
    assert bev_iou(one, other) == pytest.approx([1 / 3, octagon / (8 - octagon), 1 / 4, 0, 1, 0])
    assert iou_3d(one, other) == pytest.approx([2 / 14, octagon / (8 - octagon), 1 / 8, 0, 0, 0])


def test_boxes_that_cover_nothing_share_nothing_not_even_with_themselves() -> None:
    nothing = array(NOTHING)
    around = array([(0, 0, 0, 50, 50, 50, 0)] * len(nothing))
    assert not has_volume(nothing).any()
    assert not box_volumes(nothing).any()
    assert not bev_areas(nothing).any()
    for overlap in (shared_areas, bev_iou, iou_3d):
        assert not overlap(nothing, nothing).any()
        assert not overlap(nothing, around).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_other_kinds_of_numbers(dtype: type) -> None:
    one, other = (np.array([row], dtype=dtype) for row in [(0, 0, 0, 2, 2, 2, 0), (1, 0, 0, 2, 2, 2, 0)])
    assert bev_iou(one, other) == pytest.approx([1 / 3])
    assert box_volumes(one).tolist() == [8]
    assert box_volumes(one).dtype == bev_corners(one).dtype == box_corners(one).dtype == np.float64


def test_nothing_has_a_shape() -> None:
    nothing = np.empty((0, 7))
    for of_one in (has_volume, box_volumes, bev_areas):
        assert of_one(nothing).shape == (0,)
    for of_two in (shared_areas, bev_iou, iou_3d):
        assert of_two(nothing, nothing).shape == (0,)
    assert bev_corners(nothing).shape == (0, 4, 2)
    assert box_corners(nothing).shape == (0, 8, 3)


@settings(deadline=None, max_examples=200)
@given(pairs_of_boxes)
def test_overlaps_are_those_of_plain_loops_and_symmetric_to_the_bit(pairs) -> None:
    one, other = both(pairs)
    assert shared_areas(one, other) == pytest.approx([slow.shared_area(a, b) for a, b in pairs], abs=1e-9)
    assert bev_iou(one, other) == pytest.approx([slow.bev_iou(a, b) for a, b in pairs], abs=1e-9)
    assert iou_3d(one, other) == pytest.approx([slow.iou_3d(a, b) for a, b in pairs], abs=1e-9)
    for overlap in (shared_areas, bev_iou, iou_3d):
        np.testing.assert_array_equal(overlap(one, other), overlap(other, one))
    for share in (bev_iou(one, other), iou_3d(one, other)):
        assert ((share >= 0) & (share <= 1)).all()


@settings(deadline=None)
@given(real_box)
def test_a_box_is_one_with_itself_to_the_bit(box) -> None:
    one = array([box])
    assert bev_iou(one, one).tolist() == [1]
    assert iou_3d(one, one).tolist() == [1]


@settings(deadline=None)
@given(real_box, real_box, st.integers(-3, 3))
def test_half_turns_change_nothing(box, other, turns: int) -> None:
    one, two, turned = array([box]), array([other]), array([(*box[:6], box[6] + turns * math.pi)])
    assert iou_3d(one, turned) == pytest.approx([1], abs=1e-12)
    assert bev_iou(turned, two) == pytest.approx(bev_iou(one, two), abs=1e-12)
    swapped = array([(*box[:3], box[4], box[3], box[5], box[6] + math.pi / 2)])
    assert bev_iou(swapped, two) == pytest.approx(bev_iou(one, two), abs=1e-12)


@settings(deadline=None)
@given(
    real_box, real_box, st.floats(-math.pi, math.pi), st.floats(-1000, 1000), st.sampled_from([1e-6, 1e-3, 1e3, 1e6])
)
def test_place_direction_and_scale_of_both_change_nothing(box, other, turn: float, shift: float, scale: float) -> None:
    one, two = array([box]), array([other])

    def moved(boxes: np.ndarray) -> np.ndarray:
        new = boxes.copy()
        cos, sin = math.cos(turn), math.sin(turn)
        new[:, 0], new[:, 1] = boxes[:, 0] * cos - boxes[:, 1] * sin, boxes[:, 0] * sin + boxes[:, 1] * cos
        new[:, :3] += shift
        new[:, 6] += turn
        return new

    assert bev_iou(moved(one), moved(two)) == pytest.approx(bev_iou(one, two), abs=1e-9)
    factor = np.array([scale] * 6 + [1])
    assert bev_iou(one * factor, two * factor) == pytest.approx(bev_iou(one, two), abs=1e-9)
    assert iou_3d(one * factor, two * factor) == pytest.approx(iou_3d(one, two), abs=1e-9)


@pytest.mark.parametrize("small", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("large", [1e3, 1e6])
def test_a_tiny_box_in_a_huge_one_keeps_its_digits(small: float, large: float) -> None:
    one = array([(large / 5, large / 7, 0, small, 2 * small, small, 0.4)])
    other = array([(0, 0, 0, large, large, large, 0.9)])
    assert shared_areas(one, other) == pytest.approx([2 * small**2], rel=1e-6 if small / large > 1e-10 else 1e-2)
    assert iou_3d(one, other) == pytest.approx([2 * (small / large) ** 3], rel=1e-2)


@settings(deadline=None)
@given(real_box, st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_box_inside_another_shares_all_of_itself(box, length: float, width: float, height: float) -> None:
    inner = array([(*box[:3], box[3] * length, box[4] * width, box[5] * height, box[6])])
    outer = array([box])
    assert shared_areas(inner, outer) == pytest.approx(bev_areas(inner))
    assert iou_3d(inner, outer) == pytest.approx(box_volumes(inner) / box_volumes(outer))


@settings(deadline=None)
@given(st.lists(real_box, max_size=6))
def test_the_rectangle_around_a_box_holds_its_corners_and_no_more(boxes) -> None:
    rows = array(boxes)
    reach = np.abs(bev_corners(rows) - rows[:, None, :2]).max(axis=1, initial=0)
    for axis, half in enumerate(half_extents(rows)):
        assert half == pytest.approx(reach[:, axis])


def test_many_pairs_in_pieces_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = random_boxes(50, 1), random_boxes(50, 2)
    expected = shared_areas(one, other)
    monkeypatch.setattr(module, "MAX_PAIRS", 7)
    np.testing.assert_array_equal(shared_areas(one, other), expected)


def random_boxes(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    places = random.uniform(-4, 4, (count, 3))
    return np.concatenate([places, random.uniform(0.2, 5, (count, 3)), random.uniform(-7, 7, (count, 1))], axis=1)


def test_agrees_with_shapely() -> None:
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    one, other = random_boxes(5000, 3), random_boxes(5000, 4)
    first, second = (shapely.polygons(bev_corners(rows)) for rows in (one, other))
    shared = shapely.area(shapely.intersection(first, second))
    assert (shared > 0).mean() > 0.3
    np.testing.assert_allclose(shared_areas(one, other), shared, atol=1e-12)
    np.testing.assert_allclose(bev_iou(one, other), shared / shapely.area(shapely.union(first, second)), atol=1e-12)


@pytest.mark.parametrize("max_pairs", [1, 5, 1000])
@pytest.mark.parametrize("with_reach", [False, True])
def test_pairs_are_those_of_each_frame_in_order(
    max_pairs: int, with_reach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_module, "MAX_PAIRS", max_pairs)
    rows = random_boxes(40, 5)
    rows[3, 3], rows[30, 0] = 0, NAN
    random = np.random.default_rng(6)
    index, reach = random.integers(-2, 2, 40), random.uniform(0, 6, 18)
    first, second = rows[:22], rows[22:]
    pieces = list(iter_shared_space(index[:22], first, index[22:], second, reach if with_reach else None))
    got = [
        row
        for p in pieces
        for row in zip(
            *(getattr(p, n).tolist() for n in ("first", "second", "area", "height", "distance")), strict=True
        )
    ]
    expected = []
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            area, distance = slow.shared_area(a, b), math.dist(a[:2], b[:2])
            solid = slow.is_solid(a) and slow.is_solid(b)
            near = area > 0 or (with_reach and solid and distance < reach[j])
            if index[i] == index[22 + j] and near:
                expected.append((i, j, area, slow.shared_height(a, b), distance))
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    np.testing.assert_allclose(np.array(got), np.array(expected), atol=1e-12)
    assert (len(pieces) > 1) == (max_pairs < 1000)
    assert any(row[2] == 0 for row in got) == with_reach


@pytest.mark.parametrize(("n_first", "n_second"), [(0, 0), (0, 3), (3, 0)])
def test_without_boxes_there_are_no_pairs(n_first: int, n_second: int) -> None:
    first, second = random_boxes(n_first, 1), random_boxes(n_second, 1)
    pieces = iter_shared_space(np.zeros(n_first, np.int64), first, np.zeros(n_second, np.int64), second)
    assert sum(len(piece.first) for piece in pieces) == 0
