from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.errors import ConfigError, InputError, StoreError
from ml_debugger.selection import STRATEGIES, FilterConfig, SamplingConfig, candidates
from ml_debugger.service import candidate_pool
from ml_debugger.service.query import run_query
from tests.helpers import selection_reference as slow
from tests.helpers.candidate_source import TASK, MemorySource, random_pool, request, scored_table
from tests.helpers.selection_examples import filters, rows


def ids(strategy, table, n=10, **kwargs):
    return list(run_query(request(n, strategy, **kwargs), TASK, MemorySource(table)).input_ids)


@settings(deadline=None, max_examples=150)
@given(rows=rows, config=filters, n=st.integers(0, 15), exclude=st.lists(st.sampled_from(["i1", "i2", "i3"])))
def test_a_filter_query_is_what_the_slow_reference_says(rows, config, n, exclude):
    table = scored_table(rows)
    expected = slow.query(
        table.to_pylist(), n, zones=config["target_zones"], conditions=config["conditions"], exclude=exclude
    )
    assert ids(config, table, n, exclude=tuple(exclude)) == expected


@pytest.mark.parametrize("strategy", ["high_error_proba", "random", {"target_zones": ["hotspot"]}], ids=str)
def test_an_empty_pool_is_told_for_filters_too_with_what_to_do(strategy):
    answer = run_query(request(5, strategy, dataset_type="pol"), TASK, MemorySource(scored_table([])))
    assert answer.input_ids == ()
    assert "nothing was recorded in dataset_type 'pol'" in answer.shortfall
    assert "run the data filter over them first" in answer.shortfall


def test_a_filter_that_matches_nothing_of_a_pool_is_no_shortfall():
    answer = run_query(request(5, {"conditions": [{"score": ">2"}]}), TASK, MemorySource(random_pool(20)))
    assert (answer.input_ids, answer.shortfall) == ((), None)


@pytest.mark.parametrize("n", [2**32, 10**30])
@pytest.mark.parametrize(
    "strategy", ["high_error_proba", "low_error_proba", "random", "zone_balanced", {"conditions": [{"score": ">=0"}]}]
)
def test_any_number_may_be_asked_for(n, strategy):
    assert sorted(ids(strategy, random_pool(20), n)) == sorted({f"img_{at}" for at in range(20)})


@settings(deadline=None, max_examples=100)
@given(rows=rows, n=st.integers(0, 15), name=st.sampled_from(["high_error_proba", "low_error_proba"]))
def test_a_sort_query_is_what_the_slow_reference_says(rows, n, name):
    table = scored_table(rows)
    assert ids(name, table, n) == slow.query(table.to_pylist(), n, descending=name == "high_error_proba")


@settings(deadline=None, max_examples=150)
@given(rows=rows, config=filters)
def test_flags_equal_query(rows, config):
    """{ids flagged True} = query with the same condition and a large n, on each input's newest recording."""
    table = scored_table(slow.newest(scored_table(rows).to_pylist()))
    flagged = candidates(table, FilterConfig(**config))
    flags = dict(zip(flagged["input_id"].to_pylist(), flagged["selected"].to_pylist(), strict=True))
    assert {input_id for input_id, flag in flags.items() if flag is True} == set(ids(config, table, 1000))


def test_stale_recordings_are_looked_past(monkeypatch):
    """The 300 best rows are all stale: the first look finds none of them current, and it looks deeper."""
    old = [{"input_id": f"old{at}", "error_proba": 0.9} for at in range(300)]
    new = [{"input_id": f"old{at}", "error_proba": 0.1} for at in range(300)]
    rest = [{"input_id": f"rest{at:02}", "error_proba": 0.5 - at / 100} for at in range(20)]
    source = MemorySource(scored_table(old + new + rest))
    answer = run_query(request(3, "high_error_proba"), TASK, source)
    assert answer.input_ids == ("rest00", "rest01", "rest02")
    assert answer.rank_values == (0.5, 0.49, 0.48)
    assert len(source.looked_up) > 1
    # beyond a size, all current recordings are found at once
    monkeypatch.setattr(candidate_pool, "_LOOK_UP_ROWS", 10)
    source.looked_up.clear()
    assert run_query(request(3, "high_error_proba"), TASK, source) == answer
    assert source.looked_up == []


def test_only_few_inputs_are_looked_up():
    source = MemorySource(random_pool(5000))
    run_query(request(50, "high_error_proba"), TASK, source)
    assert max(source.looked_up) <= 200


def test_ties_break_by_input_id_and_rows_scored_twice_come_once():
    rows = [{"input_id": name, "error_proba": 1.0} for name in "dbcae"]
    twice = scored_table([*rows, {"input_id": "a", "error_proba": 1.0, "recording_id": 3}])
    assert ids("high_error_proba", twice, 3) == ["a", "b", "c"]
    assert ids("low_error_proba", twice, 9) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_answers_distinct_ids_the_same_way_twice(name):
    table = random_pool(300, seed=3)
    rng = np.random.default_rng(0)
    source = MemorySource(table, rng.normal(size=(table.num_rows, 64)), rng.normal(size=(table.num_rows, 5)))
    shuffled = np.random.default_rng(1).permutation(table.num_rows)
    other = MemorySource(table.take(shuffled), source.features[shuffled], source.logits[shuffled])
    exclude = tuple(f"img_{at}" for at in range(0, 300, 2))
    asked = request(40, name, exclude=exclude, seed=5)
    answer = run_query(asked, TASK, source)
    assert len(set(answer.input_ids)) == len(answer.input_ids) == len(answer.rank_values) == 40
    assert not set(answer.input_ids) & set(exclude)
    assert run_query(asked, TASK, other).input_ids == answer.input_ids
    current = {row["input_id"]: row["error_proba"] for row in slow.newest(table.to_pylist())}
    assert [current[one] for one in answer.input_ids] == list(answer.rank_values)
    if name not in ("high_error_proba", "low_error_proba", "coverage"):
        assert run_query(request(40, name, exclude=exclude, seed=6), TASK, source).input_ids != answer.input_ids


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_an_empty_pool_gives_no_ids_and_says_so(name):
    answer = run_query(request(5, name), TASK, MemorySource(random_pool(0)))
    assert answer.input_ids == answer.id_kinds == answer.rank_values == ()
    assert "0 of 5 inputs" in answer.shortfall
    assert "run the data filter over them first" in answer.shortfall


def test_what_others_recorded_is_mentioned_where_it_does_not_count():
    narrowed = replace(request(5, "random"), pass_id="one object")
    answer = run_query(narrowed, TASK, MemorySource(random_pool(2)))
    assert "scope='run' takes in the rest" in answer.shortfall


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_small_pool_comes_whole(name):
    table = random_pool(7, seed=2)
    vectors = np.random.default_rng(0).normal(size=(table.num_rows, 3))
    answer = run_query(request(20, name), TASK, MemorySource(table, vectors, vectors))
    assert sorted(answer.input_ids) == sorted(set(table["input_id"].to_pylist()))
    assert answer.shortfall.startswith("7 of 20 inputs: no more are scored in dataset_type 'pool' of 'm', version 'v1'")


def test_a_missing_record_row_is_an_error_of_the_store():
    source = MemorySource(random_pool(5), np.ones((6, 2)))
    source.vectors = lambda wanted: MemorySource.vectors(source, wanted).slice(1)
    with pytest.raises(StoreError, match="1 of 5 scored inputs have no record rows"):
        run_query(request(2, "diverse_error"), TASK, source)


def test_a_filter_that_finds_few_is_only_logged(caplog):
    with caplog.at_level(logging.INFO):
        answer = run_query(request(999, {"conditions": [{"score": ">=0"}]}), TASK, MemorySource(random_pool(9)))
    assert (len(answer.input_ids), answer.shortfall) == (9, None)
    assert "9 of 999 inputs: no more are selected by the filter" in caplog.text


def test_the_shortfall_counts_what_was_excluded():
    answer = run_query(request(9, "random", exclude=("img_0", "img_1")), TASK, MemorySource(random_pool(9)))
    assert answer.shortfall.startswith("7 of 9")
    assert "2 ids were excluded" in answer.shortfall


def test_zero_is_nothing_asked_for():
    answer = run_query(request(np.int64(0), "high_error_proba"), TASK, MemorySource(random_pool(9)))
    assert answer.input_ids == ()
    assert answer.shortfall is None


@pytest.mark.parametrize("n_data", [-1, 1.5, 2.0, "3", None, True, math.nan])
def test_a_bad_n_data_is_refused(n_data):
    with pytest.raises(InputError, match="n_data: expected an int of at least 0, got"):
        ids("high_error_proba", random_pool(1), n_data)


@pytest.mark.parametrize(("key", "value"), [("seed", -1), ("seed", "a"), ("exclude", "img_1"), ("exclude", (1,))])
def test_a_bad_seed_or_exclude_is_refused(key, value):
    with pytest.raises(InputError, match=f"{key}: expected"):
        ids("random", random_pool(1), **{key: value})


@pytest.mark.parametrize(
    ("strategy", "listed"),
    [
        ("high_error", "expected one of high_error_proba, low_error_proba, diverse_error"),
        ("", "or a filter dict"),
        (None, "or a filter dict, got None"),
        (7, "target_zones, a list of zones"),
        (["hotspot"], "Allowed keys"),
        ({}, "nothing to select by"),
        ({"zones": ["hotspot"]}, "Allowed keys: target_zones"),
        ({"target_zones": ["hot"]}, "no such zone: 'hot'.*critical_hotspot"),
        (
            {"conditions": [{"eror_proba": ">=0.5"}]},
            "no such numeric column: 'eror_proba'; available: score, error_proba, age",
        ),
        ({"conditions": [{"site": "==1"}]}, "'site'; available: score, error_proba, age, weight"),
        ({"conditions": [{"night": "==1"}]}, "'night'; available"),
        ({"conditions": [{"det_error_proba": ">0"}]}, "'det_error_proba'; available"),
        ({"conditions": [{"label": ">0"}]}, "'label'; available"),
        ({"conditions": [{"score": "=>0.5"}]}, "expected an operator"),
        ({"conditions": [{"score": 0.5}]}, r"conditions\[0\].score"),
    ],
)
def test_a_bad_strategy_is_refused_with_what_is_allowed(strategy, listed):
    with pytest.raises(ConfigError, match=listed):
        ids(strategy, random_pool(3))


def test_a_config_object_is_a_strategy():
    table = random_pool(30)
    config = {"target_zones": ["hotspot"], "conditions": [{"score": "<0.2"}]}
    assert ids(FilterConfig(**config), table) == ids(config, table) != []


def test_random_sampling_stays_within_its_bounds():
    table = random_pool(400)
    sampling = {"method": "random", "min_value": 0.4, "max_value": 0.6, "seed": 3}
    answer = run_query(request(20, "high_error_proba", sampling=sampling), TASK, MemorySource(table))
    assert len(answer.input_ids) == 20
    assert all(0.4 <= value <= 0.6 for value in answer.rank_values)
    assert list(answer.rank_values) != sorted(answer.rank_values, reverse=True)
    again = ids("low_error_proba", table, 20, sampling=SamplingConfig(**sampling), seed=99)
    assert again == list(answer.input_ids)
    other = {**sampling, "seed": None}
    assert ids("high_error_proba", table, 20, sampling=other, seed=3) == again
    assert ids("high_error_proba", table, 20, sampling=other, seed=4) != again


def test_sampling_draws_from_what_a_filter_selects():
    table = random_pool(400)
    drawn = ids({"target_zones": ["hotspot"]}, table, 10, sampling={"method": "random", "min_value": 0.0})
    zone = {row["input_id"]: row["zone"] for row in slow.newest(table.to_pylist())}
    assert len(drawn) == 10
    assert {zone[one] for one in drawn} == {"hotspot"}


def labels_of(drawn, table):
    label = {row["input_id"]: row["label"] for row in slow.newest(table.to_pylist())}
    return [label[one] for one in drawn]


def test_class_balanced_takes_turns_and_skips_classes_that_run_out():
    many = [{"input_id": f"a{at}", "label": 0} for at in range(500)]
    few = [{"input_id": f"b{at}", "label": 1} for at in range(3)]
    table = scored_table(many + few + [{"input_id": "c", "label": 2, "error_proba": 0.1}])
    drawn = ids("high_error_proba", table, 20, sampling={"method": "class_balanced", "min_value": 0.3})
    assert labels_of(drawn, table)[:6] == [0, 1, 0, 1, 0, 1]
    assert len(set(drawn)) == 20
    assert labels_of(drawn, table).count(0) == 17
    quota = {"method": "class_balanced", "min_per_class": 2}
    assert labels_of(ids("high_error_proba", table, 4, sampling=quota), table) == [0, 1, 2, 0]
    whole = ids("high_error_proba", table, 30, sampling=quota, seed=1)
    assert labels_of(whole, table)[:5] == [0, 1, 2, 0, 1]
    assert len(set(whole)) == 30
    assert whole == ids("high_error_proba", table, 30, sampling=quota, seed=2)


def test_class_balanced_looks_past_stale_recordings():
    stale = [{"input_id": f"x{at}", "label": 0} for at in range(400)]
    moved = [{"input_id": f"x{at}", "label": 1} for at in range(400)]
    table = scored_table([*stale, *moved, {"input_id": "y", "label": 0}])
    drawn = ids("high_error_proba", table, 2, sampling={"method": "class_balanced", "min_per_class": 1})
    assert labels_of(drawn, table) == [0, 1]


def test_class_balanced_from_nothing():
    answer = run_query(
        request(4, "high_error_proba", sampling={"method": "class_balanced", "min_value": 2}),
        TASK,
        MemorySource(random_pool(9)),
    )
    assert answer.input_ids == ()
    assert "within the bounds of the sampling" in answer.shortfall


def test_sampling_is_refused_where_the_strategy_draws_by_itself():
    with pytest.raises(ConfigError, match="combine sampling with high_error_proba, low_error_proba, or a filter dict"):
        ids("badge", random_pool(1), sampling={"method": "random", "min_value": 0.5})
