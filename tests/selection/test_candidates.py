from __future__ import annotations

import math

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from ml_debugger.errors import ConfigError
from ml_debugger.selection import FilterConfig, candidates, parse_filter
from tests.helpers.candidate_source import random_pool, scored_table
from tests.helpers.selection_examples import filters, rows
from tests.helpers.selection_reference import is_selected


@settings(deadline=None, max_examples=200)
@given(rows=rows, config=filters)
def test_numpy_narwhals_and_the_slow_reference_agree(rows, config):
    table = scored_table(rows)
    expected = [is_selected(row, config["target_zones"], config["conditions"]) for row in table.to_pylist()]
    config = FilterConfig(**config)
    fast = candidates(table, config)
    assert fast["selected"].to_pylist() == expected
    frame = pl.DataFrame(table)
    for scored in (frame, frame.lazy()):
        same = candidates(scored, config).lazy().collect()
        assert same["selected"].to_list() == expected
        assert same.columns == fast.column_names
        assert same["input_id"].to_list() == fast["input_id"].to_pylist()
        only = candidates(scored, config, selected_only=True).lazy().collect()
        assert (
            only["recording_id"].to_list() == candidates(table, config, selected_only=True)["recording_id"].to_pylist()
        )
        assert only["selected"].all()


def test_without_a_config_all_rows_with_an_error_probability_are_selected():
    table = scored_table([{"input_id": "a"}, {"input_id": "b", "error_proba": math.nan}])
    assert candidates(table, None)["selected"].to_pylist() == [True, False]
    assert candidates(pl.DataFrame(table), None)["selected"].to_list() == [True, False]


def test_flags_are_plain_bools_in_the_order_given():
    table = scored_table([{"input_id": name, "score": score} for name, score in [("b", 0.9), ("a", 0.1), ("c", 0.9)]])
    flags = candidates(table, FilterConfig(conditions=[{"score": ">0.5"}]))["selected"].to_pylist()
    assert [flag is True for flag in flags] == [True, False, True]


def test_nothing_in_nothing_out():
    config = FilterConfig(target_zones=["hotspot"], conditions=[{"score": ">0"}])
    empty = random_pool(0)
    for found in (candidates(empty, config), candidates(pl.DataFrame(empty), config).to_arrow()):
        assert found.num_rows == 0
        assert found.column_names == ["input_id", "id_kind", "recording_id", "label", "zone", "rank_value", "selected"]


def test_integers_and_nulls_compare_as_numbers():
    table = scored_table([{"input_id": "a", "age": 3}, {"input_id": "b", "age": None}, {"input_id": "c", "age": 4}])
    for text, expected in [
        ("==3", [True, False, False]),
        ("!=3", [False, False, True]),
        (">3.5", [False, False, True]),
    ]:
        assert candidates(table, FilterConfig(conditions=[{"age": text}]))["selected"].to_pylist() == expected


def test_columns_that_are_not_there_are_not_carried():
    table = scored_table([{"input_id": "a"}]).select(["input_id", "error_proba"])
    assert candidates(table, None).column_names == ["input_id", "rank_value", "selected"]


@pytest.mark.parametrize("column", ["truth", "site", "night", "unit", "det_error_proba", "pred_size", "nothing"])
def test_a_column_that_is_not_numeric_is_refused(column):
    config = FilterConfig(conditions=[{column: ">0"}])
    message = f"no such numeric column: '{column}'; available: score, error_proba, age, weight. Further"
    for scored in (random_pool(2), pl.DataFrame(random_pool(2))):
        with pytest.raises(ConfigError, match=message):
            candidates(scored, config)


def test_the_column_made_for_a_pool_can_be_named_where_it_is_there():
    config = FilterConfig(conditions=[{"error_proba_pool": ">0.5"}])
    table = random_pool(3)
    adapted = table.append_column("error_proba_pool", pa.array([0.4, 0.6, 0.5]))
    assert candidates(adapted, config)["selected"].to_pylist() == [False, True, False]
    assert candidates(pl.DataFrame(adapted), config)["selected"].to_list() == [False, True, False]
    with pytest.raises(ConfigError, match="pass pool_adaptive=True to query"):
        candidates(table, config)


def test_parse_filter_knows_the_additional_fields():
    config = {"conditions": [{"age": ">3"}]}
    assert parse_filter(config, ["age"]) == FilterConfig(**config)
    with pytest.raises(ConfigError, match="no such numeric column: 'age'; available: score, error_proba"):
        parse_filter(config)
    assert isinstance(candidates(random_pool(3), parse_filter(config, ("age",))), pa.Table)
