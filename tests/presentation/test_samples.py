"""Filters and columns of the labelled units."""

from __future__ import annotations

import pandas as pd
import pytest

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.presentation.samples import Wanted, has_code, outcomes, public_frame, select

CODES = ["DET:A:CLS1->1", "DET:A*:CLS1->2", "DET:M:CLS1->1", "DET:M*:CLS2->2", "DET:N:CLS->1"]


def frame(**columns):
    given = {
        "dataset_type": ["val"] * 5,
        "zone": ["hotspot", "hotspot", "stable_coverage", "hotspot", "critical_hotspot"],
        "error_code": CODES,
        "is_error": [False, True, True, True, True],
        "ignored": [False, False, False, True, False],
        "error_proba": [0.1, 0.2, 0.3, 0.4, 0.5],
        "det_error_proba": [0.1, 0.2, 0.3, 0.4, 0.5],
        "cls_error_proba": [0.1, 0.2, 0.3, 0.4, 0.5],
    }
    return pd.DataFrame(given | columns)


def test_filters_narrow_together_and_ignored_rows_need_asking():
    assert len(select(frame(), Wanted())) == 4
    assert len(select(frame(), Wanted(include_ignored=True))) == 5
    hot = select(frame(), Wanted(zone="hotspot", only_errors=True))
    assert hot["error_code"].tolist() == ["DET:A*:CLS1->2"]
    with pytest.raises(ConfigError, match="stable_coverage"):
        select(frame(), Wanted(zone="warm"))
    with pytest.raises(InputError, match="'val'"):
        select(frame(), Wanted(dataset_type="vall"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("DET:M", [2, 3]),
        (["DET:N", "DET:A:CLS1->1"], [0, 4]),
        ("DET:A", [0, 1]),
        ("DET:M*:CLS2->2", [3]),
        ("DET", [0, 1, 2, 3, 4]),
        ("DET:S", []),
    ],
)
def test_codes_are_named_whole_or_by_their_beginning(wanted, found):
    codes = pd.Series(CODES)
    assert codes.index[has_code(codes, wanted)].tolist() == found


def test_codes_of_classification_are_named_whole():
    assert has_code(pd.Series(["CLS1->2", "CLS1->21", "CLS1->2**"]), "CLS1->2").tolist() == [True, False, False]


def test_each_probability_has_its_own_outcome():
    assert outcomes(frame(), "error_proba")["wrong"].tolist() == [False, True, True, True, True]
    assert outcomes(frame(), "det_error_proba")["wrong"].tolist() == [False, False, True, True, True]
    in_place = outcomes(frame(), "cls_error_proba")
    assert in_place["wrong"].tolist() == [False, True]
    with pytest.raises(InputError, match=r"expected one of \['error_proba'\]"):
        outcomes(frame()[["error_proba", "is_error"]], "det_error_proba")


def test_public_columns_leave_internal_ones_out():
    made = public_frame(
        frame(input_id=["1"] * 5, id_kind=["int"] * 5, recording_id=[1] * 5, camera=["a"] * 5, truth=[1] * 5)
    )
    assert made.columns[0] == "input_id"
    assert made.columns[-1] == "camera"
    assert made["input_id"].tolist() == [1] * 5
    assert "recording_id" not in made
    assert str(made["truth"].dtype) == "Int64"
