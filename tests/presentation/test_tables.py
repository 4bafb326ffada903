"""Numbers in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ml_debugger.columns import ZONES
from ml_debugger.presentation.tables import metric_rows, moment, percent, text_table, zone_rows
from tests.helpers.payloads import make_metrics, make_samples, make_zones


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3%"), (0, "0.0%"), (None, "-"), (float("nan"), "-")])
def test_percent(value, text):
    assert percent(value) == text


@pytest.mark.parametrize("value", ["2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)])
def test_moment(value):
    assert moment(value) == "2026-01-02 03:04 UTC"


def test_no_moment():
    assert moment(None) == "-"


def test_metrics_stand_beside_the_baseline():
    rows = {row.title: row for row in metric_rows(make_metrics())}
    auroc = rows["AUROC"]
    assert (auroc.ours, auroc.interval, auroc.baseline) == ("0.900", "0.890 to 0.910", "0.810")
    assert rows["Error rate"].ours == "20.0%"
    assert (rows["Accuracy"].baseline, rows["Accuracy"].baseline_interval) == ("-", "")


def test_metrics_that_a_result_lacks_are_left_out():
    assert [row.title for row in metric_rows({"nll": 0.5})] == ["Log loss"]


def test_average_precision_says_what_it_is_of():
    flat = metric_rows({"map": 0.5, "map50": 0.7})
    assert [(row.title, "COCO" in row.meaning) for row in flat] == [("mAP", True), ("mAP 50", False)]
    upright = metric_rows({"map_distance": 0.6, "map_3d": 0.4, "map_3d_low": 0.3, "map_3d_high": 0.5, "map": 0.5})
    assert [(row.title, row.ours) for row in upright] == [
        ("mAP", "0.500"),
        ("mAP 3D", "0.400"),
        ("mAP distance", "0.600"),
    ]
    assert "seen from above" in upright[0].meaning
    assert upright[1].interval == "0.300 to 0.500"
    assert "nuScenes" in upright[2].meaning


def test_zone_rows_are_all_six_in_order_also_without_rows():
    assert [row.zone for row in zone_rows([])] == list(ZONES)
    empty = zone_rows([])[0]
    assert (empty.count, empty.error_rate, empty.interval, empty.promise) == ("0", "-", "-", "")


def test_zone_rows_say_what_the_table_says():
    table = make_zones(make_samples()).to_pylist()
    for row, source in zip(zone_rows(table), table, strict=True):
        assert row.count == f"{source['count']:,}"
        assert row.share == percent(source["share"])
        assert row.promise == (source["promise"] or "")


def test_text_table_aligns():
    text = text_table(("name", "n"), [("a", "10"), ("long name", "7")], right=(1,))
    assert text.splitlines() == ["name        n", "---------  --", "a          10", "long name   7"]
