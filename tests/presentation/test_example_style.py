"""Words and colours that examples share."""

from __future__ import annotations

from dataclasses import replace

from ml_debugger.presentation.example_style import REGION, TRUTH, find_colour, headline, label_truth, name_class
from ml_debugger.presentation.palette import find_theme
from tests.helpers.examples import EXAMPLE, MISSED


def test_class_names():
    found = [name_class(1, names) for names in (None, ["a", "b"], {1: "b"}, {2: "c"}, ["a"])]
    assert found == ["1", "b", "b", "1", "1"]


def test_a_box_is_headed_by_its_code_and_probability():
    assert headline(EXAMPLE) == "DET:SG*:CLS123->456  91%"
    assert headline(MISSED) == "DET:NP:CLS123->"


def test_colours():
    zones = find_theme("light").zones
    assert find_colour(EXAMPLE) == zones["critical_hotspot"]
    assert find_colour(replace(EXAMPLE, zone="hotspot")) == zones["hotspot"]
    assert find_colour(MISSED) == TRUTH
    found = [label_truth(one, {123: "cup"}) for one in EXAMPLE.truths]
    assert found == [("true cup", TRUTH), ("ignored 7", REGION)]
