"""Error codes of boxes in the forms of the guide."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.detection_codes import CODE_MEANINGS, detection_codes, is_certain, missed_codes
from ml_debugger.analysis.matching import DETECTION_CODES


def code_of(code: str, truth: int, label: int, *, certain: bool = True) -> list[str]:
    return detection_codes(np.array([code], dtype=object), np.array([truth]), np.array([label]), np.array([certain]))


@pytest.mark.parametrize(
    ("code", "truth", "label", "certain", "expected"),
    [
        ("A", 3, 3, True, "DET:A:CLS3->3"),
        ("A", 3, 5, True, "DET:A:CLS3->5"),
        ("A", 3, 5, False, "DET:A*:CLS3->5"),
        ("A", 0, 0, True, "DET:A:CLS0->0"),
        ("M", 3, 5, True, "DET:M:CLS3->5"),
        ("M", 3, 3, False, "DET:M*:CLS3->3"),
        ("SP", 3, 3, True, "DET:SP:CLS3->3"),
        ("SG", 5, 5, True, "DET:SG:CLS5->5"),
        ("D", 3, 3, False, "DET:D*:CLS3->3"),
        ("ON", -1, 7, True, "DET:ON:CLS->7"),
        ("N", -1, 3, True, "DET:N:CLS->3"),
        ("N", -1, 3, False, "DET:N*:CLS->3"),
        ("U", -1, -1, True, "DET:U:CLS->-1"),
    ],
)
def test_forms(code: str, truth: int, label: int, certain: bool, expected: str) -> None:
    assert code_of(code, truth, label, certain=certain) == [expected]


def test_missed_annotations() -> None:
    assert missed_codes(np.array([3, 0])) == ["DET:NP:CLS3->", "DET:NP:CLS0->"]
    assert missed_codes(np.empty(0, dtype=np.int64)) == []


def test_no_boxes() -> None:
    none = np.empty(0, dtype=np.int64)
    assert detection_codes(none.astype(object), none, none, none.astype(bool)) == []


@pytest.mark.parametrize(
    ("det_error", "certain", "det_error_proba", "expected"),
    [
        (True, True, 0.5, True),
        (True, True, 0.21, True),
        (True, True, 0.19, False),
        (True, False, 0.99, False),
        (True, True, 0.0, False),
        (False, True, 0.0, True),
        (False, True, 0.99, True),
        (False, False, 0.5, False),
        (True, True, np.nan, True),
    ],
)
def test_the_error_model_may_doubt_an_error(
    det_error: bool, certain: bool, det_error_proba: float, expected: bool
) -> None:
    found = is_certain(np.array([certain]), np.array([det_error]), np.array([det_error_proba]))
    assert found.tolist() == [expected]


def test_the_threshold_of_doubt_can_be_set() -> None:
    assert is_certain(np.array([True]), np.array([True]), np.array([0.3]), 0.6).tolist() == [False]


def test_every_code_has_a_name_and_a_meaning_in_the_order_of_the_rules() -> None:
    assert list(CODE_MEANINGS) == [*DETECTION_CODES, "NP"]
    assert all(name and meaning for name, meaning in CODE_MEANINGS.values())
