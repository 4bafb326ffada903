"""Candidates whose details are read when they are asked for: the answers of an ordinary join, and fewer reads."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ml_debugger.selection import ranked_frame
from ml_debugger.selection.ranked_frame import RankedSource, with_details

BOXES = pl.DataFrame(
    {
        "recording_id": [1, 1, 2, 3, 3],
        "unit": [0, 1, 0, 0, 1],
        "input_id": ["a", "a", "b", "c", "c"],
        "label": [5, 6, 7, 8, 9],
    }
)
RANKED = pl.DataFrame(
    {
        "recording_id": [1, 2, 3],
        "unit": [1, 0, 0],
        "rank_value": [0.9, 0.5, 0.7],
        "selected": [True, False, True],
    }
)
DETAILS = ["input_id", "label"]
JOINED = BOXES.join(RANKED, on=["recording_id", "unit"]).select("input_id", "label", "rank_value", "selected")


class Counted:
    """A lazy frame that counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def frame(self) -> pl.LazyFrame:
        def seen(part: pl.DataFrame) -> pl.DataFrame:
            self.reads += 1
            return part

        return BOXES.lazy().map_batches(seen, schema=BOXES.schema)


def answer(source: RankedSource, *arguments: Any) -> pl.DataFrame:
    (found,) = source.read(*arguments, None)
    return found


@pytest.mark.parametrize("limit", [0, 100])
def test_the_same_as_a_join(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(ranked_frame, "LOOK_UP_ROWS", limit)
    source = RankedSource(BOXES.lazy(), RANKED, DETAILS)
    for predicate in (None, pl.col("selected"), pl.col("label") > 6, pl.col("selected") & (pl.col("input_id") == "c")):
        expected = JOINED if predicate is None else JOINED.filter(predicate)
        found = answer(source, None, predicate, None)
        assert found.sort("input_id").equals(expected.sort("input_id"))
        lazily = with_details(BOXES.lazy(), RANKED, DETAILS)
        lazily = lazily if predicate is None else lazily.filter(predicate)
        assert lazily.collect().sort("input_id").equals(expected.sort("input_id"))


def test_rank_values_alone_read_no_box() -> None:
    counted = Counted()
    source = RankedSource(counted.frame(), RANKED, DETAILS)
    found = answer(source, ["rank_value"], pl.col("selected"), None)
    assert found["rank_value"].to_list() == [0.9, 0.7]
    assert counted.reads == 0


def test_the_details_of_all_are_read_once_and_those_of_some_anew() -> None:
    counted = Counted()
    source = RankedSource(counted.frame(), RANKED, DETAILS)
    for _ in range(3):
        assert answer(source, ["label"], None, None).height == 3
    assert counted.reads == 1
    assert answer(source, ["label"], pl.col("rank_value") > 0.8, None)["label"].to_list() == [6]
    assert counted.reads == 2


def test_no_more_rows_than_asked_for() -> None:
    source = RankedSource(BOXES.lazy(), RANKED, DETAILS)
    assert answer(source, ["rank_value"], None, 2).height == 2
    assert answer(source, None, None, 1).columns == ["input_id", "label", "rank_value", "selected"]
