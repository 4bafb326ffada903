"""Matching: one test per code and per rule of precedence, and agreement with a slow matcher."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import DETECTION_CODES, Match, MatchSettings, match
from ml_debugger.errors import ConfigError

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


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="foreground_iou"):
        MatchSettings(foreground_iou=0)
