"""Matching: one test per code and per rule of precedence, and agreement with a slow matcher."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import DETECTION_CODES, Match, MatchSettings, match
from ml_debugger.errors import ConfigError
from tests.helpers.matching_reference import Annotated, Predicted, area, slow_match

Row = tuple[object, ...]


def predicted(*rows: Row) -> PredictedBoxes:
    """Of one image: (box, label, score) each."""
    return PredictedBoxes(
        np.zeros(len(rows), dtype=np.int64),
        np.array([row[0] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=float),
    )


def annotated(*rows: Row) -> TrueBoxes:
    """Of one image: (box, label) or (box, label, ignored) each."""
    return TrueBoxes(
        np.zeros(len(rows), dtype=np.int64),
        np.array([row[0] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([len(row) > 2 and row[2] for row in rows], dtype=bool),
    )


def codes(found: Match) -> list[str]:
    return found.code.tolist()


CAR, BUS, PERSON = 2, 5, 0
HERE = (100, 100, 200, 200)
ELSEWHERE = (400, 400, 500, 500)


def test_aligned_right_class() -> None:
    found = match(predicted(((105, 100, 200, 200), CAR, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["A"]
    assert found.truth.tolist() == [0]
    assert found.iou[0] == pytest.approx(0.95)
    assert (found.is_error[0], found.det_error[0], found.cls_error[0]) == (False, False, False)
    assert not found.missed[0]


def test_aligned_wrong_class() -> None:
    found = match(predicted((HERE, BUS, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["A"]
    assert found.truth.tolist() == [0]
    assert (found.is_error[0], found.det_error[0], found.cls_error[0]) == (True, False, True)
    assert not found.missed[0]


def test_badly_placed() -> None:
    found = match(predicted(((150, 100, 250, 200), CAR, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["M"]
    assert found.truth.tolist() == [0]
    assert found.iou[0] == pytest.approx(1 / 3)
    assert (found.is_error[0], found.det_error[0], found.cls_error[0]) == (True, True, False)
    assert not found.missed[0]


def test_badly_placed_with_another_class() -> None:
    found = match(predicted(((150, 100, 250, 200), BUS, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["M"]
    assert found.truth.tolist() == [0]
    assert (found.det_error[0], found.cls_error[0]) == (True, False)


def test_separated_predictions() -> None:
    halves = predicted(((100, 100, 148, 200), CAR, 0.9), ((152, 100, 200, 200), CAR, 0.8))
    found = match(halves, annotated((HERE, CAR)))
    assert codes(found) == ["SP", "SP"]
    assert found.truth.tolist() == [0, 0]
    assert found.det_error.all()
    assert not found.missed.any()


def test_separated_truths() -> None:
    pair = annotated(((100, 100, 145, 200), CAR), ((150, 100, 200, 200), CAR))
    found = match(predicted(((90, 90, 210, 210), CAR, 0.9)), pair)
    assert codes(found) == ["SG"]
    assert found.truth.tolist() == [1]  # the one that it overlaps most
    assert not found.missed.any()  # both are accounted for


def test_duplicate() -> None:
    found = match(predicted((HERE, CAR, 0.6), ((100, 100, 195, 200), CAR, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["D", "A"]  # the better score takes the annotation, not the better overlap
    assert found.truth.tolist() == [0, 0]
    assert found.is_error.tolist() == [True, False]


def test_duplicate_of_another_class() -> None:
    found = match(predicted((HERE, CAR, 0.6), (HERE, BUS, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["A", "D"]
    assert found.truth.tolist() == [0, 0]


def test_overlaps_another_prediction_only() -> None:
    found = match(predicted((HERE, CAR, 0.9), ((100, 100, 150, 180), PERSON, 0.5)), annotated((HERE, CAR)))
    assert codes(found) == ["A", "ON"]
    assert found.truth.tolist() == [0, -1]
    assert found.iou[1] == 0


def test_nothing_there() -> None:
    found = match(predicted((ELSEWHERE, CAR, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["N"]
    assert found.truth.tolist() == [-1]
    assert found.is_error[0]
    assert found.det_error[0]
    assert found.missed.tolist() == [True]


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ((np.nan, 100, 200, 200), 0.9),
        ((100, 100, np.inf, 200), 0.9),
        ((200, 100, 100, 200), 0.9),
        ((100, 100, 100, 200), 0.9),
        (HERE, np.nan),
    ],
)
def test_undefined_without_an_area_or_a_score(box: tuple[float, ...], score: float) -> None:
    found = match(predicted((box, CAR, score), (HERE, CAR, 0.1)), annotated((HERE, CAR)))
    assert codes(found) == ["U", "A"]
    assert found.is_error.tolist() == [True, False]
    assert not found.ignored.any()


def test_undefined_where_several_lie_in_several() -> None:
    """Two annotations lie in the prediction, which itself is one of two fragments of a third."""
    truths = annotated(((0, 0, 400, 400), CAR), ((0, 0, 60, 150), CAR), ((90, 0, 150, 150), CAR))
    found = match(predicted(((0, 0, 150, 150), CAR, 0.9), ((200, 200, 380, 380), CAR, 0.8)), truths)
    assert codes(found) == ["U", "SP"]
    assert found.truth.tolist() == [-1, 0]
    assert not found.missed.any()


def test_every_code_has_its_case() -> None:
    assert set(DETECTION_CODES) == {"A", "M", "SP", "SG", "D", "ON", "N", "U"}


# Precedence: each pair of neighbours in the order of the rules, with a box for which both rules hold.


def test_right_class_is_paired_before_a_better_placed_wrong_class() -> None:
    truths = annotated((HERE, BUS), ((110, 100, 210, 200), CAR))
    found = match(predicted((HERE, CAR, 0.9)), truths)
    assert found.truth.tolist() == [1]
    assert not found.is_error[0]
    assert found.missed.tolist() == [True, False]


def test_an_annotation_of_another_class_left_over_comes_before_a_duplicate() -> None:
    truths = annotated((HERE, CAR), ((110, 100, 210, 200), BUS))
    found = match(predicted((HERE, CAR, 0.9), (HERE, CAR, 0.8)), truths)
    assert codes(found) == ["A", "A"]
    assert found.truth.tolist() == [0, 1]
    assert found.cls_error.tolist() == [False, True]


def test_duplicate_before_separated_truths_and_matched() -> None:
    """The second box is over two annotations, and has enough overlap with one that is taken."""
    truths = annotated(((100, 100, 180, 200), CAR), ((184, 100, 200, 200), CAR), ((100, 100, 130, 210), BUS))
    found = match(predicted(((100, 100, 180, 200), CAR, 0.9), (HERE, CAR, 0.8)), truths)
    assert codes(found) == ["A", "D"]
    assert found.truth.tolist() == [0, 0]


def test_separated_truths_before_matched() -> None:
    truths = annotated(((100, 100, 145, 200), CAR), ((150, 100, 200, 200), CAR), ((80, 80, 170, 170), BUS))
    assert codes(match(predicted(((90, 90, 210, 210), CAR, 0.9)), truths)) == ["SG"]


def test_separated_predictions_before_matched() -> None:
    parts = predicted(
        ((100, 100, 140, 200), CAR, 0.9), ((145, 100, 185, 200), CAR, 0.8), ((150, 100, 250, 200), CAR, 0.7)
    )
    assert codes(match(parts, annotated((HERE, CAR)))) == ["SP", "SP", "SP"]
    assert codes(match(predicted(((100, 100, 140, 200), CAR, 0.9)), annotated((HERE, CAR)))) == ["M"]


def test_matched_before_overlapping_another_prediction() -> None:
    found = match(predicted(((150, 100, 250, 200), CAR, 0.9), ((150, 100, 250, 200), BUS, 0.8)), annotated((HERE, CAR)))
    assert codes(found) == ["M", "M"]


def test_only_free_annotations_of_another_class_are_matched() -> None:
    small = ((100, 100, 140, 200), PERSON, 0.5)
    free, taken = predicted(small), predicted(small, (HERE, CAR, 0.9))
    assert codes(match(free, annotated((HERE, CAR)))) == ["M"]
    assert codes(match(taken, annotated((HERE, CAR)))) == ["ON", "A"]


def test_a_taken_annotation_of_its_own_class_is_matched() -> None:
    found = match(predicted(((150, 100, 250, 200), CAR, 0.5), (HERE, CAR, 0.9)), annotated((HERE, CAR)))
    assert codes(found) == ["M", "A"]
    assert found.truth.tolist() == [0, 0]


def test_its_own_class_before_a_free_annotation_and_that_before_a_greater_overlap() -> None:
    truths = annotated(
        (HERE, CAR), ((150, 100, 300, 200), BUS), ((150, 60, 250, 160), CAR), ((160, 140, 240, 200), CAR)
    )
    boxes = predicted((HERE, CAR, 0.9), ((150, 100, 250, 200), CAR, 0.8))
    one, two, three = (TrueBoxes(*(column[:n] for column in _columns(truths))) for n in (2, 3, 4))
    assert match(boxes, one, MatchSettings(foreground_iou=0.7)).truth.tolist() == [0, 0]
    assert match(boxes, two, MatchSettings(foreground_iou=0.7)).truth.tolist() == [0, 2]
    assert match(boxes, three, MatchSettings(foreground_iou=0.7, inside_share=1.0)).truth.tolist() == [0, 3]


def _columns(truths: TrueBoxes) -> list[np.ndarray]:
    return [truths.input_index, truths.box, truths.label, truths.ignored]


def test_fragments_of_a_found_annotation_are_no_separated_predictions() -> None:
    parts = predicted(((100, 100, 140, 200), CAR, 0.6), ((145, 100, 185, 200), CAR, 0.5), (HERE, CAR, 0.9))
    assert codes(match(parts, annotated((HERE, CAR)))) == ["M", "M", "A"]


def test_fragments_of_another_class_are_no_separated_predictions() -> None:
    parts = predicted(((100, 100, 140, 200), CAR, 0.6), ((145, 100, 185, 200), CAR, 0.5))
    assert codes(match(parts, annotated((HERE, BUS)))) == ["M", "M"]


@pytest.mark.parametrize(("width", "expected"), [(4, ["N", "N"]), (6, ["SP", "SP"])])
def test_fragments_must_cover_enough_together(width: int, expected: list[str]) -> None:
    parts = predicted(((100, 100, 100 + width, 200), CAR, 0.9), ((180, 100, 180 + width, 200), CAR, 0.8))
    assert codes(match(parts, annotated((HERE, CAR)))) == expected


@pytest.mark.parametrize(("width", "expected"), [(4, "N"), (6, "SG")])
def test_merged_annotations_must_fill_enough_together(width: int, expected: str) -> None:
    truths = annotated(((100, 100, 100 + width, 200), CAR), ((180, 100, 180 + width, 200), CAR))
    assert codes(match(predicted((HERE, CAR, 0.9)), truths)) == [expected]


def test_two_annotations_of_which_one_is_mostly_outside_are_no_separated_truths() -> None:
    truths = annotated(((100, 100, 140, 200), CAR), ((180, 100, 230, 200), CAR))
    assert codes(match(predicted((HERE, CAR, 0.9)), truths)) == ["M"]


# What COCO's evaluation does


def test_better_scores_choose_first_and_equal_ones_in_order() -> None:
    truths = annotated((HERE, CAR))
    near = (100, 100, 190, 200)
    assert codes(match(predicted((HERE, CAR, 0.5), (near, CAR, 0.6)), truths)) == ["D", "A"]
    assert codes(match(predicted((near, CAR, 0.5), (HERE, CAR, 0.5)), truths)) == ["A", "D"]


def test_each_takes_what_it_overlaps_most_of_equals_the_last() -> None:
    truths = annotated((HERE, CAR), ((105, 100, 205, 200), CAR), (HERE, CAR))
    assert match(predicted((HERE, CAR, 0.9)), truths).truth.tolist() == [2]
    assert match(predicted((HERE, CAR, 0.9), (HERE, CAR, 0.8), (HERE, CAR, 0.7)), truths).truth.tolist() == [2, 0, 1]


def test_greed_may_leave_an_annotation_to_nobody() -> None:
    """The better score takes the annotation that the other one needs: COCO does not look for the best total."""
    truths = annotated(((100, 100, 200, 200), CAR), ((130, 100, 230, 200), CAR))
    found = match(predicted(((110, 100, 210, 200), CAR, 0.9), ((80, 100, 180, 200), CAR, 0.8)), truths)
    assert codes(found) == ["A", "D"]
    assert found.missed.tolist() == [False, True]


def test_an_overlap_equal_to_the_threshold_is_enough() -> None:
    half = predicted(((100, 100, 150, 200), CAR, 0.9))
    assert match(half, annotated((HERE, CAR))).code.tolist() == ["A"]
    tenth = predicted(((100, 100, 110, 200), CAR, 0.9))
    assert match(tenth, annotated((HERE, CAR))).code.tolist() == ["M"]


# Regions to be ignored


@pytest.mark.parametrize(("label", "is_ignored"), [(CAR, True), (-1, True), (BUS, False)])
def test_boxes_in_regions_of_their_class_are_ignored(label: int, is_ignored: bool) -> None:
    found = match(predicted((HERE, CAR, 0.9)), annotated(((0, 0, 1000, 1000), label, True)))
    assert found.ignored.tolist() == [is_ignored]
    assert codes(found) == (["U"] if is_ignored else ["N"])
    assert found.is_error[0] == found.det_error[0] == (not is_ignored)
    assert not found.cls_error.any()
    assert not found.missed.any()


def test_half_of_a_box_in_a_region_is_enough() -> None:
    for right, is_ignored in ((149, False), (150, True)):
        found = match(predicted((HERE, CAR, 0.9)), annotated(((0, 0, right, 1000), CAR, True)))
        assert found.ignored.tolist() == [is_ignored]


def test_an_object_in_a_region_is_found_and_its_duplicate_ignored() -> None:
    truths = annotated(((0, 0, 1000, 1000), CAR, True), (HERE, CAR))
    found = match(predicted((HERE, CAR, 0.9), (HERE, CAR, 0.8)), truths)
    assert codes(found) == ["A", "U"]
    assert found.ignored.tolist() == [False, True]
    assert found.truth.tolist() == [1, -1]


def test_being_in_a_region_comes_before_the_wrong_class() -> None:
    truths = annotated(((0, 0, 1000, 1000), CAR, True), (HERE, BUS))
    found = match(predicted((HERE, CAR, 0.9)), truths)
    assert found.ignored.all()
    assert found.missed.tolist() == [False, True]


def test_annotations_without_an_area_are_not_missed() -> None:
    found = match(predicted((HERE, CAR, 0.9)), annotated(((150, 150, 150, 160), CAR), ((np.nan,) * 4, CAR)))
    assert codes(found) == ["N"]
    assert not found.missed.any()


# Thresholds


def test_thresholds_by_class() -> None:
    strict = MatchSettings(foreground_iou_by_class={CAR: 0.7}, background_iou_by_class={CAR: 0.65})
    boxes = predicted(((100, 100, 160, 200), CAR, 0.9), ((400, 400, 460, 500), BUS, 0.9))
    truths = annotated((HERE, CAR), (ELSEWHERE, BUS))
    assert codes(match(boxes, truths)) == ["A", "A"]
    assert codes(match(boxes, truths, strict)) == ["N", "A"]
    assert match(boxes, truths, strict).missed.tolist() == [True, False]
    assert codes(match(boxes, truths, MatchSettings(foreground_iou=0.7))) == ["M", "M"]


def test_the_class_of_the_annotation_decides() -> None:
    strict = MatchSettings(foreground_iou_by_class={CAR: 0.7})
    assert codes(match(predicted(((100, 100, 160, 200), BUS, 0.9)), annotated((HERE, CAR)), strict)) == ["M"]
    assert codes(match(predicted(((100, 100, 160, 200), CAR, 0.9)), annotated((HERE, BUS)), strict)) == ["A"]


@pytest.mark.parametrize(
    ("right", "certain"),
    [
        (200, True),
        (156, True),
        (154, False),
        (146, False),
        (144, True),
        (116, True),
        (114, False),
        (106, False),
        (104, True),
    ],
)
def test_a_code_near_a_threshold_is_not_certain(right: int, certain: bool) -> None:
    found = match(predicted(((100, 100, right, 200), CAR, 0.9)), annotated((HERE, CAR)))
    assert found.certain.tolist() == [certain]


def test_the_class_must_be_certain_too() -> None:
    truths = annotated(((100, 100, 152, 200), CAR), (HERE, BUS))
    found = match(predicted((HERE, CAR, 0.9)), truths)
    assert codes(found) == ["A"]  # with stricter thresholds too, but then of the bus
    assert not found.is_error[0]
    assert not found.certain[0]


@pytest.mark.parametrize(("left", "certain"), [(74, False), (88, True)])
def test_being_inside_must_be_certain_too(left: int, certain: bool) -> None:
    """Of the first fragment 48 % or 76 % lie inside the annotation: with a share of .45 both are enough."""
    parts = predicted(((left, 100, left + 50, 200), CAR, 0.9), ((130, 100, 170, 200), CAR, 0.8))
    found = match(parts, annotated((HERE, CAR)), MatchSettings(foreground_iou=0.9))
    assert codes(found) == (["SP", "SP"] if certain else ["M", "M"])
    assert found.certain.tolist() == [certain, certain]


def test_without_tolerance_everything_is_certain() -> None:
    found = match(predicted(((100, 100, 150, 200), CAR, 0.9)), annotated((HERE, CAR)), MatchSettings(iou_tolerance=0.0))
    assert found.certain.all()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"foreground_iou": 0.0}, "foreground_iou: expected more than 0 and at most 1, got 0.0"),
        ({"background_iou": 1.5}, "background_iou"),
        ({"inside_share": float("nan")}, "inside_share"),
        ({"iou_tolerance": 0.5}, "iou_tolerance"),
        ({"iou_tolerance": -0.1}, "iou_tolerance"),
        ({"foreground_iou_by_class": {3: 2.0}}, r"foreground_iou_by_class\[3\]"),
        ({"background_iou": 0.6}, "background_iou: expected at most the foreground_iou"),
        ({"foreground_iou_by_class": {3: 0.05}}, "background_iou of class 3: expected at most"),
        ({"background_iou_by_class": {4: 0.7}}, "background_iou of class 4: expected at most"),
    ],
)
def test_settings_out_of_range_are_refused(given_: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MatchSettings(**given_)


def test_settings_survive_json() -> None:
    chosen = MatchSettings(0.6, 0.2, 0.7, 0.01, {3: 0.7}, {4: 0.3})
    assert MatchSettings.read(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_settings_are_read_from_some_of_their_names() -> None:
    assert MatchSettings.read({"foreground_iou": 0.7, "foreground_iou_by_class": {"3": 1, 4: 0.6}}) == MatchSettings(
        foreground_iou=0.7, foreground_iou_by_class={3: 1.0, 4: 0.6}
    )
    assert MatchSettings.read({}) == MatchSettings()
    assert MatchSettings.read(chosen := MatchSettings(0.6)) is chosen


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"iou": 0.5}, "matching: expected a dict with some of foreground_iou, background_iou, inside_share, iou_tol"),
        (0.5, "matching: expected a dict"),
        ({"foreground_iou": "high"}, "foreground_iou: expected a number, got 'high'"),
        ({"iou_tolerance": True}, "iou_tolerance: expected a number, got True"),
        ({"foreground_iou_by_class": 0.7}, "foreground_iou_by_class: expected a dict of class id to number, got 0.7"),
        ({"foreground_iou_by_class": {"car": 0.7}}, "expected a dict of class id to number"),
        ({"background_iou_by_class": {3: None}}, r"background_iou_by_class\[3\]: expected a number, got None"),
        ({"foreground_iou": 7}, "foreground_iou: expected more than 0 and at most 1, got 7.0"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(given_: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MatchSettings.read(given_)


# Properties


coordinate = st.integers(0, 10)
box = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), coordinate, coordinate, coordinate, coordinate)
label = st.integers(0, 2)
score = st.one_of(st.integers(0, 4).map(lambda n: n / 4), st.just(float("nan")))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    truths = draw(st.lists(st.tuples(box, label, st.integers(0, 9).map(lambda n: n == 0)), max_size=6))
    near = st.sampled_from([truth[0] for truth in truths]) if truths else box
    moved = st.builds(lambda one, *by: tuple(map(sum, zip(one, by, strict=True))), near, *[st.integers(-2, 2)] * 4)
    rows = draw(st.lists(st.tuples(st.one_of(box, near, moved), label, score), max_size=8))
    return rows, truths


def slowly(rows: list[Row], truths: list[Row], chosen: MatchSettings, shift: float = 0.0) -> list[list[object]]:
    predictions = [Predicted(*row) for row in rows]
    annotations = [Annotated(*row) for row in truths]
    moved = (
        np.clip(share + shift, 1e-9, 1.0)
        for share in (chosen.foreground_iou, chosen.background_iou, chosen.inside_share)
    )
    slow_match(predictions, annotations, *moved)
    missed = [not t.ignored and bool(area(t.box)) and not t.belongs for t in annotations]
    return [[p.code for p in predictions], [p.truth for p in predictions], [p.ignored for p in predictions], missed]


def meanings(rows: list[Row], truths: list[Row], chosen: MatchSettings, shift: float) -> list[tuple[object, bool]]:
    """Code of each prediction, and whether it has the class of its annotation."""
    found, partners, *_ = slowly(rows, truths, chosen, shift)
    right = [partner >= 0 and truths[partner][1] == row[1] for partner, row in zip(partners, rows, strict=True)]
    return list(zip(found, right, strict=True))


def shown(found: Match) -> list[list[object]]:
    return [codes(found), found.truth.tolist(), found.ignored.tolist(), found.missed.tolist()]


@settings(deadline=None, max_examples=200)
@given(scenes(), st.sampled_from([MatchSettings(), MatchSettings(0.75, 0.2, 0.6), MatchSettings(0.3, 0.3, 0.9)]))
def test_agrees_with_the_slow_matcher(scene, chosen: MatchSettings) -> None:
    rows, truths = scene
    found = match(predicted(*rows), annotated(*truths), chosen)
    assert shown(found) == slowly(rows, truths, chosen)
    now, lower, upper = (meanings(rows, truths, chosen, shift) for shift in (0.0, -0.05, 0.05))
    assert found.certain.tolist() == [n == low == up for n, low, up in zip(now, lower, upper, strict=True)]


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_flags_follow_from_codes(scene) -> None:
    rows, truths = scene
    found = match(predicted(*rows), annotated(*truths))
    right_class = np.array([t >= 0 and truths[t][1] == row[1] for t, row in zip(found.truth, rows, strict=True)], bool)
    aligned = found.code == "A"
    np.testing.assert_array_equal(found.is_error, ~(aligned & right_class) & ~found.ignored)
    np.testing.assert_array_equal(found.det_error, ~aligned & ~found.ignored)
    np.testing.assert_array_equal(found.cls_error, aligned & ~right_class)
    np.testing.assert_array_equal(found.is_error, found.det_error | found.cls_error)
    np.testing.assert_array_equal(found.truth < 0, np.isin(found.code, ["U", "ON", "N"]))
    np.testing.assert_array_equal(found.iou > 0, found.truth >= 0)
    taken = found.truth[aligned]
    assert len(set(taken.tolist())) == len(taken)


@settings(deadline=None, max_examples=50)
@given(st.lists(scenes(), max_size=5), st.randoms(use_true_random=False))
def test_images_are_matched_apart_whatever_the_order_of_their_boxes(many, random) -> None:
    """All images at once, rows shuffled across images but in order within each, give what each gives alone."""
    rows = [(image, row) for image, (own, _) in enumerate(many) for row in own]
    truths = [(image, row) for image, (_, own) in enumerate(many) for row in own]
    turns, truth_turns = [image for image, _ in rows], [image for image, _ in truths]
    random.shuffle(turns)
    random.shuffle(truth_turns)
    order, truth_order = (np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in (turns, truth_turns))
    one, other = predicted(*(rows[n][1] for n in order)), annotated(*(truths[n][1] for n in truth_order))
    found = match(
        PredictedBoxes(np.array(turns, dtype=np.int64) * 7 - 3, one.box, one.label, one.score),
        TrueBoxes(np.array(truth_turns, dtype=np.int64) * 7 - 3, other.box, other.label, other.ignored),
    )
    alone = [match(predicted(*own), annotated(*theirs)) for own, theirs in many]
    expected = [code for each in alone for code in codes(each)]
    assert [expected[n] for n in order] == codes(found)
    certain = [bool(value) for each in alone for value in each.certain]
    assert [certain[n] for n in order] == found.certain.tolist()
    missed = [bool(value) for each in alone for value in each.missed]
    assert [missed[n] for n in truth_order] == found.missed.tolist()


@settings(deadline=None, max_examples=50)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter_without_ties(scene, random) -> None:
    rows, truths = scene
    rows = [(row[0], row[1], 0.1 + n / 20) for n, row in enumerate(rows)]
    jitter = np.random.default_rng(len(rows) * 7 + len(truths))
    rows = [(tuple(np.add(row[0], jitter.normal(0, 0.01, 4))), *row[1:]) for row in rows]
    truths = [(tuple(np.add(row[0], jitter.normal(0, 0.01, 4))), *row[1:]) for row in truths]
    order, truth_order = list(range(len(rows))), list(range(len(truths)))
    random.shuffle(order)
    random.shuffle(truth_order)
    found = match(predicted(*rows), annotated(*truths))
    shuffled = match(predicted(*(rows[n] for n in order)), annotated(*(truths[n] for n in truth_order)))
    assert [codes(found)[n] for n in order] == codes(shuffled)
    assert [int(found.truth[n]) for n in order] == [-1 if t < 0 else truth_order[t] for t in shuffled.truth]
    assert [bool(found.missed[n]) for n in truth_order] == shuffled.missed.tolist()
    assert [bool(found.certain[n]) for n in order] == shuffled.certain.tolist()


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_copies_take_nothing_away_and_find_nothing_that_the_original_could_not(scene) -> None:
    rows, truths = scene
    once = match(predicted(*rows), annotated(*truths))
    copies = [(row[0], row[1], row[2] - 2) for row in rows]  # worse than all
    twice = match(predicted(*rows, *copies), annotated(*truths))
    right = (twice.code == "A") & ~twice.cls_error
    was_right = (once.code == "A") & ~once.cls_error
    np.testing.assert_array_equal(right[: len(rows)], was_right)
    assert not (right[len(rows) :] & ~was_right).any()
    # the copy of a right box is a duplicate, unless it finds another object or lies in a region to be ignored
    assert set(twice.code[len(rows) :][was_right].tolist()) <= {"D", "A", "U"}


def test_classes_of_the_annotations() -> None:
    truths = annotated((HERE, CAR), (ELSEWHERE, BUS))
    found = match(predicted((ELSEWHERE, CAR, 0.9), (HERE, CAR, 0.8), ((0, 0, 9, 9), CAR, 0.7)), truths)
    assert found.annotated(truths.label).tolist() == [BUS, CAR, -1]
    assert match(predicted((HERE, CAR, 0.9)), annotated()).annotated(np.empty(0, np.int64)).tolist() == [-1]


def test_no_predictions() -> None:
    found = match(predicted(), annotated((HERE, CAR), (HERE, CAR, True)))
    assert len(found) == 0
    assert found.code.dtype == object
    assert found.truth.dtype == np.int64
    assert found.missed.tolist() == [True, False]


def test_no_annotations() -> None:
    found = match(predicted((HERE, CAR, 0.9), (HERE, BUS, 0.8), (ELSEWHERE, BUS, 0.7)), annotated())
    assert codes(found) == ["ON", "ON", "N"]
    assert found.is_error.all()
    assert found.missed.shape == (0,)


def test_nothing() -> None:
    found = match(predicted(), annotated())
    assert len(found) == 0
    assert found.missed.shape == (0,)
