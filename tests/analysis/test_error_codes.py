"""Error codes in the forms of the guide."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.error_codes import classification_codes, code_table


def code(truth: int, label: int, zone: str, classes: list[int], shares: list[float], **options: float) -> str:
    return classification_codes(
        np.array([truth]),
        np.array([label]),
        np.array([zone], dtype=object),
        np.array([classes]),
        np.array([shares]),
        **options,
    )[0]


@pytest.mark.parametrize(
    ("truth", "label", "zone", "classes", "shares", "expected"),
    [
        (0, 0, "stable_coverage", [0, 1, 2], [0.9, 0.1, 0.0], "CLS0->0"),
        (3, 5, "operational_coverage", [5, 7, 1], [0.4, 0.3, 0.3], "CLS3->5"),
        (3, 5, "recessive_hotspot", [3, 5, 1], [0.5, 0.3, 0.2], "CLS3->5"),
        (3, 7, "hotspot", [7, 1, 3], [0.5, 0.3, 0.2], "CLS3->7|1"),
        (5, 9, "hotspot", [7, 1, 9], [0.4, 0.3, 0.3], "CLS5->7|1|9"),
        (3, 7, "hotspot", [1, 3, 8], [0.6, 0.3, 0.1], "CLS3->1|7"),  # the prediction is named even without a vote
        (3, 7, "hotspot", [7, 3, -1], [0.9, 0.1, 0.0], "CLS3->7"),
        (3, 3, "hotspot", [3, 5, -1], [0.6, 0.4, 0.0], "CLS3->3|5"),
        (9, 7, "critical_hotspot", [9, 7, 1], [0.5, 0.4, 0.1], "CLS9->7**"),
        (1, 3, "aleatoric_hotspot", [1, 3, 0], [0.5, 0.4, 0.1], "CLS1->3**"),
        (1, 3, "critical_hotspot", [3, 1, 0], [0.5, 0.4, 0.1], "CLS1->3"),
        (3, 3, "critical_hotspot", [3, 1, 0], [0.5, 0.4, 0.1], "CLS3->3"),
        (3, -1, "aleatoric_hotspot", [-1, -1, -1], [0.0, 0.0, 0.0], "CLS3->-1"),
    ],
)
def test_forms(truth: int, label: int, zone: str, classes: list[int], shares: list[float], expected: str) -> None:
    assert code(truth, label, zone, classes, shares) == expected


def test_least_share_can_be_set() -> None:
    assert code(3, 7, "hotspot", [7, 1, 2], [0.6, 0.3, 0.1], min_vote=0.05) == "CLS3->7|1|2"


def test_table_counts_codes_by_zone_most_frequent_first() -> None:
    zones = np.array(["hotspot", "hotspot", "stable_coverage", "hotspot"], dtype=object)
    table = code_table(["CLS0->1", "CLS0->1", "CLS0->0", "CLS0->1|2"], zones, ["a", "b", "c", "d"]).to_pylist()
    assert table[0] == {"error_code": "CLS0->1", "zone": "hotspot", "count": 2, "share": 0.5, "example_ids": ["a", "b"]}
    assert [row["count"] for row in table] == [2, 1, 1]


def test_table_keeps_few_examples_and_may_be_empty() -> None:
    zones = np.array(["hotspot"] * 9, dtype=object)
    assert len(code_table(["CLS0->1"] * 9, zones, list("abcdefghi")).to_pylist()[0]["example_ids"]) == 5
    assert code_table([], np.empty(0, dtype=object), []).num_rows == 0
