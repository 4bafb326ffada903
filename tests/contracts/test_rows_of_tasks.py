"""Rows of every task in every store, over HTTP too: stored, evaluated, scored and queried to the same bit."""

from __future__ import annotations

import functools
import warnings
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.service.contract import AppendRequest, EvaluationRequest, ModelSchema, QueryRequest, RunKey, Service
from ml_debugger.service.http import HttpService
from ml_debugger.service.local import LocalService
from ml_debugger.tasks import TASKS
from tests.helpers.rows import scan
from tests.helpers.task_rows import tables_of_task

SETTINGS = {"pc_range": [0.0, -16.0, -3.0, 32.0, 16.0, 1.0 / 3]}
RUN = RunKey("model", "v1")
NUMBERS = ("unit", "truth_index")
STORES = ("folder", "server", pytest.param("s3", marks=pytest.mark.slow))  # and memory, which they are compared with


def record(service: Service, task: str) -> None:
    """Labelled rows, and a pool whose truths nobody told."""
    tables = tables_of_task(task)
    width, n_classes = (len(tables["records"][name][0].as_py()) for name in ("features", "logits"))
    schema = ModelSchema(task, "arch", width, n_classes, label_fields=(), settings=SETTINGS)
    labelled = {kind: table.filter(of_pool(table, False)) for kind, table in tables.items()}
    service.append(AppendRequest("labelled", RUN, schema, labelled))
    pool = {kind: table.filter(of_pool(table, True)) for kind, table in tables.items() if kind != columns.TRUTHS}
    service.append(AppendRequest("pool", RUN, replace(schema, label_fields=None, settings=None), pool))


def of_pool(table: pa.Table, wanted: bool) -> pa.Array:
    return pa.array([(tag == columns.POOL) == wanted for tag in table["dataset_type"].to_pylist()])


def rows(service: Service, kind: str, **narrowing: Any) -> pa.Table:
    """In an order that does not depend on the store: inputs of several dataset_types have one id."""
    table = scan(service, kind, RUN, **narrowing)
    return table.sort_by([(name, "ascending") for name in ("recording_id", *NUMBERS) if name in table.column_names])


def found(service: Service, task: str) -> dict[str, Any]:
    """Everything that the calls say of a task."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record(service, task)
        result = service.evaluate(EvaluationRequest(RUN, result_name="r", options={"bootstrap": 2}))
        assert result.info["task"] == task
        said = service.query(QueryRequest(RUN, "r", 12, "high_error_proba", include_empty=True))
    listed = service.list_results(RUN, None, None, "latest")
    return {
        **{kind: rows(service, kind) for kind in (columns.INPUTS, columns.RECORDS, columns.TRUTHS)},
        "scores": rows(service, columns.SCORES, result_name="r", dataset_types=(columns.POOL,)),
        "samples": result.samples,
        "missed": result.missed,
        "shown_truths": result.truths,
        "zones": result.zones,
        "error_codes": result.error_codes,
        "metrics": result.metrics,
        "error_model": service.get_error_model("r").to_bytes(),
        "answer": said,
        "listed": listed.select(["result_name", "method_name", "n_samples", "error_rate"]),
    }


def same(first: Any, second: Any) -> bool:
    """To the last digit; NaN, of which contexts have many, is NaN."""
    if not isinstance(first, pa.Table):
        return bool(first == second)
    return first.schema == second.schema and repr(first.to_pylist()) == repr(second.to_pylist())


@functools.cache
def expected(task: str) -> dict[str, Any]:
    return found(LocalService.open("memory://"), task)


@pytest.mark.parametrize("place", STORES, indirect=True)
@pytest.mark.parametrize("task", TASKS)
def test_every_store_says_the_same_of_a_task(service: LocalService | HttpService, task: str) -> None:
    said, wanted = found(service, task), expected(task)
    assert set(said) == set(wanted)
    for name, value in wanted.items():
        assert same(said[name], value), name
    scores = said["scores"]
    assert scores.schema == columns.schema_of(columns.SCORES, task=task)
    assert scores.num_rows == scan(service, columns.RECORDS, RUN, dataset_types=(columns.POOL,)).num_rows > 0
    has_boxes = columns.words_of(task).unit == "box"
    for name in columns.box_columns(task):
        assert scores[name].null_count == (0 if has_boxes else scores.num_rows), name
    assert service.get_error_model("r").meta["settings"] == SETTINGS
