"""Queries over a workspace in a folder: what the files give must be what the rows say."""

from __future__ import annotations

import pyarrow as pa
import pytest

from benchmarks import query as benchmark
from ml_debugger import columns
from ml_debugger.service.contract import QueryRequest
from ml_debugger.service.local import LocalService
from tests.helpers import selection_reference as slow


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool") / "workspace"
    benchmark.build(folder, 3000)
    return folder


def stored_rows(folder):
    import polars as pl

    files = str(folder / "tables" / columns.SCORES / "**" / "dataset_type=pool" / "*.parquet")
    return pl.read_parquet(files).to_dicts()


def ask(folder, strategy, n=40, **kwargs):
    result_name = (folder / "result_name").read_text()
    request = QueryRequest(benchmark.RUN, result_name, n, strategy, n_epoch=0, weights_hash="weights", **kwargs)
    return LocalService.open(str(folder)).query(request)


def test_sort_and_filter_are_what_the_slow_reference_says(pool):
    rows = stored_rows(pool)
    assert len(rows) == 3150
    assert list(ask(pool, "high_error_proba").input_ids) == slow.query(rows, 40)
    assert list(ask(pool, "low_error_proba").input_ids) == slow.query(rows, 40, descending=False)
    found = ask(pool, {"target_zones": ["critical_hotspot"], "conditions": [{"score": "<0.1", "error_proba": ">0.3"}]})
    conditions = [{"score": "<0.1", "error_proba": ">0.3"}]
    assert list(found.input_ids) == slow.query(rows, 40, zones=["critical_hotspot"], conditions=conditions)


@pytest.mark.parametrize("question", list(benchmark.QUESTIONS))
def test_duckdb_gives_the_same_answers(pool, question):
    answers = {tuple(next(benchmark.duckdb(engine, question, pool))) for engine in benchmark.ENGINES[1:]}
    assert answers == {tuple(next(benchmark.ours(question, pool)))}


@pytest.mark.parametrize(
    ("strategy", "sampling"),
    [
        ("random", None),
        ("zone_balanced", None),
        ("high_error_proba", {"method": "random", "min_value": 0.1}),
        ("low_error_proba", {"method": "class_balanced", "min_per_class": 3}),
    ],
)
def test_draws_are_current_and_distinct(pool, strategy, sampling):
    answer = ask(pool, strategy, sampling=sampling)
    current = {row["input_id"]: row["error_proba"] for row in slow.newest(stored_rows(pool))}
    assert len(set(answer.input_ids)) == 40
    assert list(answer.rank_values) == [current[one] for one in answer.input_ids]
    assert ask(pool, strategy, sampling=sampling) == answer


def test_vectors_come_from_the_record_rows(pool):
    """The labelled rows have vectors: score them as a pool of their own."""
    answer = ask(pool, "diverse_error", 10, dataset_type="val")
    assert len(set(answer.input_ids)) == 10
    assert all(one.startswith("val_") for one in answer.input_ids)
    for strategy in ("badge", "coverage"):
        assert len(set(ask(pool, strategy, 10, dataset_type="val").input_ids)) == 10
    assert isinstance(benchmark.labelled_rows(3)[columns.RECORDS], pa.Table)
