"""Overlaps: by hand, by their properties, and in any number of pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis import boxes as module
from ml_debugger.analysis.boxes import (
    PredictedBoxes,
    TrueBoxes,
    box_areas,
    clip_boxes,
    find_close_pairs,
    find_overlaps,
    has_area,
    iou_matrix,
    iter_overlaps,
)
from ml_debugger.errors import InputError
from tests.helpers.matching_reference import iou, share_inside

NAN, INF = float("nan"), float("inf")
NOTHING = [[NAN, 0, 1, 1], [0, 0, INF, 1], [-INF, 0, INF, 1], [3, 0, 3, 5], [5, 0, 3, 5], [0, 5, 5, 3]]

number = st.one_of(st.integers(-5, 20).map(float), st.floats(-1e4, 1e4, width=32), st.sampled_from([NAN, INF, -INF]))
any_box = st.tuples(number, number, number, number)
side = st.floats(0.125, 500, width=32)
real_box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), side, side, side, side)


def array(rows: list[tuple[float, ...]]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 4)


def test_areas_and_overlaps_by_hand() -> None:
    one, other = array([(0, 0, 4, 2)]), array([(2, 0, 6, 2), (4, 0, 8, 2), (1, 0, 2, 2), (-5, -5, 9, 9)])
    assert box_areas(other).tolist() == [8, 8, 2, 196]
    assert iou_matrix(one, other)[0] == pytest.approx([4 / 12, 0, 2 / 8, 8 / 196])
    found = find_overlaps(np.array([7]), one, np.array([7] * 4), other)
    assert found.second.tolist() == [0, 2, 3]  # boxes that only touch share nothing
    assert found.first_share == pytest.approx([0.5, 0.25, 1.0])
    assert found.second_share == pytest.approx([0.5, 1.0, 8 / 196])


def test_boxes_that_cover_nothing_overlap_nothing_not_even_themselves() -> None:
    nothing = array(NOTHING)
    assert not has_area(nothing).any()
    assert box_areas(nothing).tolist() == [0] * len(NOTHING)
    assert not iou_matrix(nothing, nothing).any()
    assert not iou_matrix(nothing, array([(-100, -100, 100, 100)])).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_other_kinds_of_numbers(dtype: type) -> None:
    rows = np.array([[0, 0, 4, 2], [2, 0, 6, 2]], dtype=dtype)
    assert iou_matrix(rows, rows)[0] == pytest.approx([1, 1 / 3])
    assert box_areas(rows).dtype == np.float64


@settings(deadline=None)
@given(st.lists(any_box, max_size=6), st.lists(any_box, max_size=6))
def test_matrix_is_that_of_plain_loops_and_symmetric(first, second) -> None:
    matrix = iou_matrix(array(first), array(second))
    assert matrix.shape == (len(first), len(second))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            assert matrix[row, column] == pytest.approx(iou(one, other), rel=1e-9)
    np.testing.assert_array_equal(matrix.T, iou_matrix(array(second), array(first)))
    assert ((matrix >= 0) & (matrix <= 1)).all()


@settings(deadline=None)
@given(real_box, st.floats(-100, 100), st.floats(0.5, 4))
def test_a_box_is_one_with_itself_and_overlaps_do_not_depend_on_place_or_scale(box, shift: float, scale: float) -> None:
    pair = array([box, (box[0], box[1], (box[0] + box[2]) / 2, box[3])])
    assert iou_matrix(pair, pair)[0, 0] == 1
    assert iou_matrix(pair * scale + shift, pair * scale + shift) == pytest.approx(iou_matrix(pair, pair), abs=1e-3)


@pytest.mark.parametrize("max_pairs", [1, 3, 1000])
def test_overlaps_are_those_of_each_image_in_order(max_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS", max_pairs)
    random = np.random.default_rng(3)
    corners = random.integers(0, 20, (40, 2))
    rows = np.concatenate([corners, corners + random.integers(0, 20, (40, 2))], axis=1).astype(float)
    index = random.integers(-2, 4, 40)
    first, second = rows[:22], rows[22:]
    found = find_overlaps(index[:22], first, index[22:], second)
    expected = [
        (i, j, iou(a, b), share_inside(a, b), share_inside(b, a))
        for i, a in enumerate(map(tuple, first))
        for j, b in enumerate(map(tuple, second))
        if index[i] == index[22 + j] and iou(a, b) > 0
    ]
    got = zip(found.first, found.second, found.iou, found.first_share, found.second_share, strict=True)
    assert [tuple(row) for row in got] == expected
    assert len(found) == len(expected)
    pieces = list(iter_overlaps(index[:22], first, index[22:], second))
    assert (len(pieces) > 1) == (max_pairs < 1000)


@pytest.mark.parametrize(("n_first", "n_second"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_has_a_shape(n_first: int, n_second: int) -> None:
    first, second = (np.tile([0.0, 0, 1, 1], (n, 1)) for n in (n_first, n_second))
    assert iou_matrix(first, second).shape == (n_first, n_second)
    found = find_overlaps(np.zeros(n_first, np.int64), first, np.zeros(n_second, np.int64), second)
    assert len(found) == 0
    assert found.first.dtype == np.int64
    assert box_areas(first).shape == (n_first,)
    assert clip_boxes(first, 1, 1).shape == (n_first, 4)


def test_boxes_are_cut_at_the_border() -> None:
    rows = array([(-5, -5, 50, 50), (90, 10, 120, 90), (200, 200, 300, 300), (NAN, 0, 120, 1)])
    expected = [[0, 0, 50, 50], [90, 10, 100, 80], [100, 80, 100, 80], [NAN, 0, 100, 1]]
    np.testing.assert_array_equal(clip_boxes(rows, 100, 80), expected)
    per_box = clip_boxes(rows, np.array([40, 100, NAN, 100]), np.array([40, 80, 80, 80]))
    np.testing.assert_array_equal(per_box[0], [0, 0, 40, 40])
    np.testing.assert_array_equal(per_box[2], [200, 80, 300, 80])


@pytest.mark.parametrize("name", ["box", "label", "score"])
def test_predicted_lengths_that_differ_are_refused(name: str) -> None:
    given_ = {"input_index": np.zeros(2, np.int64), "box": np.zeros((2, 4)), "label": np.zeros(2, np.int64)}
    given_ |= {"score": np.zeros(2)}
    assert len(PredictedBoxes(**given_)) == 2
    with pytest.raises(InputError, match=rf"{name}: expected shape \(2,"):
        PredictedBoxes(**{**given_, name: given_[name][:1]})


def test_annotated_lengths_that_differ_are_refused() -> None:
    given_ = {"input_index": np.zeros(2, np.int64), "box": np.zeros((2, 4)), "label": np.zeros(2, np.int64)}
    assert len(TrueBoxes(**given_, ignored=np.zeros(2, bool))) == 2
    with pytest.raises(InputError, match="ignored"):
        TrueBoxes(**given_, ignored=np.zeros(3, bool))
    with pytest.raises(InputError, match=r"box: expected shape \(2, 4\) or in 3D \(2, 7\)"):
        TrueBoxes(**{**given_, "box": np.zeros((2, 5))}, ignored=np.zeros(2, bool))
    assert len(TrueBoxes(**{**given_, "box": np.zeros((2, 7))}, ignored=np.zeros(2, bool))) == 2


@settings(deadline=None)
@given(st.lists(any_box, max_size=12), st.lists(any_box, max_size=12), st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.data())
def test_close_pairs_are_the_overlaps_of_that_much_to_the_bit(first, second, least: float, data) -> None:
    one, other = array(first), array(second)
    index = [
        np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows))), dtype=np.int64)
        for rows in (one, other)
    ]
    expected = find_overlaps(index[0], one, index[1], other)
    expected = expected.rows(expected.iou >= least)
    found = find_close_pairs(index[0], one, index[1], other, least)
    for name in ("first", "second", "iou"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.first.dtype, found.iou.dtype) == (np.int64, np.float64)
