"""What overlap means class by class: read, refused, and the same after JSON; thresholds are in `test_matching`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml_debugger.analysis.match_settings import MEASURES, MatchSettings
from ml_debugger.errors import ConfigError

CHOSEN = MatchSettings(
    measure="iou_3d",
    measure_by_class={1: "distance", 2: "distance", 3: "iou_bev"},
    centre_distance=1.0,
    centre_distance_by_class={2: 4.0, 3: 0.5},
)


def test_measures_and_reaches_are_those_of_the_class() -> None:
    label = np.array([0, 1, 2, 3, -1])
    assert [MEASURES[one] for one in CHOSEN.measured_by(label)] == [
        "iou_3d",
        "distance",
        "distance",
        "iou_bev",
        "iou_3d",
    ]
    assert CHOSEN.reach(label).tolist() == [0, 2, 8, 0, 0]
    assert MatchSettings().measured_by(label).tolist() == [MEASURES.index("iou_bev")] * 5
    assert MatchSettings().reach(np.empty(0, np.int64)).shape == (0,)


def test_settings_survive_json() -> None:
    assert MatchSettings.read(json.loads(json.dumps(CHOSEN.to_json()))) == CHOSEN
    assert MatchSettings.read(json.loads(json.dumps(MatchSettings().to_json()))) == MatchSettings()


def test_settings_are_read_from_text_and_numbers() -> None:
    given = {"measure_by_class": {"3": "distance"}, "centre_distance": 4, "centre_distance_by_class": {3: 1}}
    found = MatchSettings.read(given)
    assert found == MatchSettings(
        measure_by_class={3: "distance"}, centre_distance=4.0, centre_distance_by_class={3: 1.0}
    )
    assert isinstance(found.centre_distance, float)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"measure": "iou"}, "measure: expected one of iou_bev, iou_3d, distance, got 'iou'"),
        ({"measure": 3}, "measure: expected one of iou_bev, iou_3d, distance, got 3"),
        ({"measure_by_class": {3: "near"}}, r"measure_by_class\[3\]: expected one of iou_bev"),
        ({"measure_by_class": {3: None}}, r"measure_by_class\[3\]: expected one of iou_bev"),
        ({"measure_by_class": "distance"}, "measure_by_class: expected a dict of class id to one of its names"),
        ({"centre_distance": 0.0}, "centre_distance: expected a finite number of metres above 0, got 0.0"),
        ({"centre_distance": float("nan")}, "centre_distance: expected a finite number of metres"),
        ({"centre_distance": "2 m"}, "centre_distance: expected a number, got '2 m'"),
        ({"centre_distance_by_class": {3: -1}}, r"centre_distance_by_class\[3\]: expected a finite number of metres"),
        ({"centre_distance_by_class": {3: float("inf")}}, r"centre_distance_by_class\[3\]"),
    ],
)
def test_settings_that_cannot_be_read_are_refused(given_: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MatchSettings.read(given_)
