"""Error codes of boxes in the forms of the guide."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.detection_codes import CODE_MEANINGS, detection_codes, is_certain, missed_codes
from ml_debugger.analysis.matching import DETECTION_CODES, Match


def match_of(code: str, truth: int, *, certain: bool = True) -> Match:
    """One prediction with a code, of one image with annotations of classes 3 and 5."""
    flag = np.array([code != "A"])
    return Match(
        np.array([truth]),
        np.zeros(1),
        np.array([code], dtype=object),
        np.array([certain]),
        flag,
        flag,
        flag & False,
        flag & False,
        np.zeros(2, dtype=bool),
    )


@pytest.mark.parametrize(
    ("code", "truth", "label", "certain", "expected"),
    [
        ("A", 0, 3, True, "DET:A:CLS3->3"),
        ("A", 0, 5, True, "DET:A:CLS3->5"),
        ("A", 0, 5, False, "DET:A*:CLS3->5"),
        ("M", 1, 5, True, "DET:M:CLS5->5"),
        ("M", 0, 5, False, "DET:M*:CLS3->5"),
        ("SP", 0, 3, True, "DET:SP:CLS3->3"),
        ("SG", 1, 5, True, "DET:SG:CLS5->5"),
        ("D", 0, 3, False, "DET:D*:CLS3->3"),
        ("ON", -1, 7, True, "DET:ON:CLS->7"),
        ("N", -1, 3, True, "DET:N:CLS->3"),
        ("N", -1, 3, False, "DET:N*:CLS->3"),
        ("U", -1, -1, True, "DET:U:CLS->-1"),
    ],
)
def test_forms(code: str, truth: int, label: int, certain: bool, expected: str) -> None:
    found = match_of(code, truth, certain=certain)
    assert detection_codes(found, np.array([label]), np.array([3, 5])) == [expected]


def test_another_certainty_can_be_given() -> None:
    found = match_of("M", 0)
    assert detection_codes(found, np.array([3]), np.array([3, 5]), np.array([False])) == ["DET:M*:CLS3->3"]


def test_missed_annotations() -> None:
    assert missed_codes(np.array([3, 0])) == ["DET:NP:CLS3->", "DET:NP:CLS0->"]
    assert missed_codes(np.empty(0, dtype=np.int64)) == []


def test_no_boxes() -> None:
    nothing = np.empty(0, dtype=bool)
    none = np.empty(0, dtype=np.int64)
    found = Match(none, np.empty(0), nothing.astype(object), nothing, nothing, nothing, nothing, nothing, nothing)
    assert detection_codes(found, none, none) == []


@pytest.mark.parametrize(
    ("code", "certain", "det_error_proba", "expected"),
    [
        ("M", True, 0.5, True),
        ("M", True, 0.21, True),
        ("M", True, 0.19, False),
        ("M", False, 0.99, False),
        ("N", True, 0.0, False),
        ("A", True, 0.0, True),
        ("A", True, 0.99, True),
        ("A", False, 0.5, False),
        ("M", True, np.nan, True),
    ],
)
def test_the_error_model_may_doubt_an_error(code: str, certain: bool, det_error_proba: float, expected: bool) -> None:
    found = match_of(code, 0, certain=certain)
    assert is_certain(found, np.array([det_error_proba])).tolist() == [expected]


def test_the_threshold_of_doubt_can_be_set() -> None:
    assert is_certain(match_of("M", 0), np.array([0.3]), 0.6).tolist() == [False]


def test_every_code_has_a_name_and_a_meaning_in_the_order_of_the_rules() -> None:
    assert list(CODE_MEANINGS) == [*DETECTION_CODES, "NP"]
    assert all(name and meaning for name, meaning in CODE_MEANINGS.values())
