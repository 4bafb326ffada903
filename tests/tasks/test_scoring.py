"""Scores: the same bits live and in bulk, and a clear outcome for values that cannot be used."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger import columns
from ml_debugger.errors import InputError, NonFiniteWarning
from ml_debugger.estimation import ErrorModel
from ml_debugger.service.evaluation import run_evaluation
from ml_debugger.tasks.scoring import score_rows
from tests.helpers.labelled_runs import TASK, Part, Run, input_rows, make_part, model_output, request


@cache
def error_model() -> ErrorModel:
    return run_evaluation(request(), TASK, Run({"train": make_part(500, 1), "val": make_part(900, 2)}).read).model


@cache
def pool() -> pa.Table:
    part = make_part(200, 3)
    return TASK.predictions(model_output(part.features, part.logits), input_rows(200, "pool"))


@cache
def scores() -> pa.Table:
    return score_rows(TASK, error_model(), pool(), "result")


def test_score_rows_have_the_stored_schema() -> None:
    assert scores().schema == columns.schema_of("scores")
    assert scores()["recording_id"].equals(pool()["recording_id"])
    assert set(scores()["result_name"].to_pylist()) == {"result"}
    assert scores()["det_error_proba"].null_count == 200


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 199), min_size=1, max_size=80))
def test_a_row_has_the_same_score_in_every_batch(chosen: list[int]) -> None:
    assert score_rows(TASK, error_model(), pool().take(pa.array(chosen)), "result").equals(
        scores().take(pa.array(chosen))
    )


def test_one_by_one_after_a_journey_through_bytes() -> None:
    again = ErrorModel.from_bytes(error_model().to_bytes())
    single = pa.concat_tables([score_rows(TASK, again, pool().slice(row, 1), "result") for row in range(50)])
    assert single.equals(scores().slice(0, 50))


def test_additional_columns_are_kept() -> None:
    extra = pool().append_column("weather", pa.array(["dry"] * 200))
    found = score_rows(TASK, error_model(), extra, "result")
    assert found.schema.names == [*columns.schema_of("scores").names, "weather"]


def test_no_rows() -> None:
    assert score_rows(TASK, error_model(), pool().slice(0, 0), "result").schema == columns.schema_of("scores")


def broken_pool() -> pa.Table:
    part = make_part(200, 3).subset(np.arange(40))
    features, logits = part.features.copy(), part.logits.copy()
    logits[3], logits[4, 1], features[7, 0] = np.nan, np.inf, -np.inf
    return TASK.predictions(model_output(features, logits), input_rows(40, "pool"))


def test_values_that_are_not_finite() -> None:
    with pytest.warns(NonFiniteWarning) as caught:
        found = score_rows(TASK, error_model(), broken_pool(), "result")
    assert len(caught) == 1
    assert "2 of 40 units have NaN or infinite logits" in str(caught[0].message)
    rows = found.to_pylist()
    for row in (3, 4):
        assert (rows[row]["error_proba"], rows[row]["support"], rows[row]["label"]) == (1.0, 0.0, -1)
    assert rows[7]["support"] == 0.0
    assert 0 < rows[7]["error_proba"] < 1
    assert rows[7]["label"] >= 0
    assert {rows[row]["zone"] for row in (3, 4, 7)} == {"aleatoric_hotspot"}
    healthy = [row for row in range(40) if row not in (3, 4, 7)]
    assert (
        found.take(pa.array(healthy))
        .select(["error_proba", "zone"])
        .equals(scores().slice(0, 40).take(pa.array(healthy)).select(["error_proba", "zone"]))
    )


def test_missing_features_fall_back_to_the_calibrated_confidence() -> None:
    part = make_part(30, 3)
    rows = TASK.predictions(model_output(None, part.logits), input_rows(30, "pool"))
    with pytest.warns(NonFiniteWarning, match="30 of 30 units have no finite features"):
        found = score_rows(TASK, error_model(), rows, "result")
    confidence = np.array(found["score"].to_pylist())
    proba = np.array(found["error_proba"].to_pylist())
    assert (np.argsort(-confidence, kind="stable") == np.argsort(proba, kind="stable")).all()


@pytest.mark.parametrize("part", [make_part(3, width=5), make_part(3, n_classes=7)])
def test_another_architecture(part: Part) -> None:
    rows = TASK.predictions(model_output(part.features, part.logits), input_rows(3))
    with pytest.raises(InputError, match="as in the evaluated run"):
        score_rows(TASK, error_model(), rows, "result")


def test_nothing_is_said_about_healthy_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_rows(TASK, error_model(), pool(), "result")
