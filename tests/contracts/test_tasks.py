"""What every task must do: rows for empty batches, scores that do not depend on the batch, tables that fit together."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.errors import InputError
from ml_debugger.estimation import ErrorModel
from ml_debugger.estimation.metrics import auroc
from ml_debugger.recording.fields import parse_fields
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks import TASKS, Task
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.tasks.units import read_units
from ml_debugger.types import ModelOutput
from tests.helpers.labelled_boxes import BoxRun, detections, frame_detections
from tests.helpers.labelled_runs import Run, input_rows, make_part, model_output, request

NO_UNITS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Sample:
    """Traced, labelled rows of a task, rows of a pool with their truths, and an output without units."""

    read: Callable[..., Any]
    pool: pa.Table
    truths: pa.Table
    nothing: ModelOutput


def rows_of_inputs() -> Sample:
    traced = Run({"train": make_part(300, 1), "val": make_part(300, 2)})
    pool = Run({"pool": make_part(120, 3)})
    nothing = model_output(np.empty((0, 12), np.float32), np.empty((0, 4), np.float32))
    return Sample(traced.read, pool.tables["records"], pool.tables["truths"], nothing)


def boxes(make: Callable[..., Any], width: int, name: str) -> Sample:
    traced = BoxRun({"train": make(60, 1), "val": make(160, 2)}, TASKS[name])
    pool = BoxRun({"pool": make(60, 3)}, TASKS[name])
    nothing = ModelOutput(2, NO_UNITS, NO_UNITS, np.empty(0), boxes=np.empty((0, width), np.float32))
    return Sample(traced.read, pool.tables["records"], pool.tables["truths"], nothing)


SAMPLES: dict[str, Callable[[], Sample]] = {
    "classification": rows_of_inputs,
    "object_detection": lambda: boxes(detections, 4, "object_detection"),
    "object_detection_3d": lambda: boxes(frame_detections, 7, "object_detection_3d"),
}


@functools.cache
def sample(name: str) -> Sample:
    return SAMPLES[name]()


@functools.cache
def evaluated(name: str) -> Evaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_evaluation(request(bootstrap=5), TASKS[name], sample(name).read)


@functools.cache
def scores(name: str) -> pa.Table:
    return score_rows(TASKS[name], evaluated(name).model, sample(name).pool, "r")


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    assert request.param in SAMPLES, "a task needs a sample here"
    return TASKS[request.param]


def test_a_task_has_a_name_a_method_of_its_own_and_words(task: Task) -> None:
    assert TASKS[task.name] is task
    assert [one.method for one in TASKS.values()].count(task.method) == 1
    assert task.name in columns.WORDS


def test_any_callable_can_be_its_model(task: Task) -> None:
    assert find_adapter(lambda given: given, None, task.name).weights_hash() is None


def test_its_tables_have_each_column_once_and_fields_cannot_take_them(task: Task) -> None:
    for kind in columns.KINDS:
        names = columns.schema_of(kind, task=task.name).names
        assert len(set(names)) == len(names)
        for name in names:
            with pytest.raises(InputError, match="is a column or an argument of MLdebugger's own"):
                parse_fields([{"name": name, "type": "float"}], "additional_fields", task.name)
    assert parse_fields([{"name": "lux", "type": "float"}], "additional_fields", task.name)


def test_inputs_without_units_have_rows_of_no_length(task: Task) -> None:
    nothing = sample(task.name).nothing
    inputs = input_rows(nothing.n_inputs)
    records = task.predictions(nothing, inputs)
    assert records.schema == columns.schema_of("records")
    assert records.num_rows == 0
    unlabelled = task.truths([None] * nothing.n_inputs, inputs, None)
    assert unlabelled.schema == columns.schema_of("truths")
    assert unlabelled.num_rows == 0
    found = task.diagnose(records, unlabelled, None)
    assert len(found.is_error) == 0
    scored = score_rows(task, evaluated(task.name).model, records, "r")
    assert scored.schema == columns.schema_of("scores", task=task.name)
    assert scored.num_rows == 0
    assert task.candidates(scored, None).num_rows == 0


def test_it_reads_the_columns_that_it_names(task: Task) -> None:
    assert {*task.reads.records, *task.reads.vectors} <= set(columns.schema_of("records").names)
    assert set(task.reads.truths) <= set(columns.schema_of("truths").names)
    assert set(task.reads.inputs) <= set(columns.schema_of("inputs").names)
    assert task.reads.fallback in task.reads.vectors


def test_a_unit_has_the_same_score_in_every_batch_and_after_a_journey_through_bytes(task: Task) -> None:
    pool, whole = sample(task.name).pool, scores(task.name)
    assert whole.schema == columns.schema_of("scores", task=task.name)
    model = ErrorModel.from_bytes(evaluated(task.name).model.to_bytes())
    for step in (1, 7):
        some = pool.slice(0, 70)
        parts = [score_rows(task, model, some.slice(at, step), "r") for at in range(0, 70, step)]
        assert pa.concat_tables(parts).equals(whole.slice(0, 70))


def test_scores_find_errors_that_the_model_has_not_shown_before(task: Task) -> None:
    pool, whole = sample(task.name).pool, scores(task.name)
    wrong = task.diagnose(pool, sample(task.name).truths, None).is_error
    assert auroc(whole["error_proba"].to_numpy(), wrong) > auroc(1 - pool["score"].to_numpy(), wrong) + 0.02
    for name in columns.ERROR_COLUMNS:
        values = whole[name].drop_null().to_numpy()
        assert ((values > 0) & (values < 1)).all()
        assert len(values) in (0, pool.num_rows)
    assert set(whole["zone"].to_pylist()) <= set(columns.ZONES)


def test_targets_codes_and_quality_are_there_for_every_labelled_unit(task: Task) -> None:
    found = evaluated(task.name)
    samples = found.samples
    assert samples["error_code"].null_count == 0
    assert sum(found.zones["count"].to_pylist()) == samples.num_rows
    wanted = set(columns.schema_of("scores", task=task.name).names) & set(samples.column_names)
    assert wanted >= {"error_proba", "zone", "support", "score", "label", *task.score_columns(units_of(task))}
    rows = task.diagnose(sample(task.name).pool, sample(task.name).truths, None)
    targets = task.targets(rows)
    assert set(targets) <= set(columns.ERROR_COLUMNS)
    np.testing.assert_array_equal(targets["error_proba"], rows.is_error)
    measures = [name for name in found.metrics if name in ("accuracy", "map")]
    assert len(measures) == 1
    assert 0 <= found.metrics[measures[0]] <= 1


def units_of(task: Task) -> Any:
    return read_units(sample(task.name).pool, task.reads.vectors)


def test_candidates_are_the_same_for_a_batch_and_for_a_query(task: Task) -> None:
    whole = scores(task.name)
    live = task.candidates(whole, None)
    lazy = pl.from_arrow(task.candidates(pl.from_arrow(whole).lazy(), None).collect().to_arrow())  # type: ignore[union-attr]  # a frame
    assert live.num_rows == len(set(whole["input_id"].to_pylist())) == len(lazy)
    ranked = dict(zip(live["input_id"].to_pylist(), live["rank_value"].to_pylist(), strict=True))
    assert ranked == dict(zip(lazy["input_id"], lazy["rank_value"], strict=True))
    assert all(live["selected"].to_pylist())


def test_score_columns_do_not_fail_without_boxes(task: Task) -> None:
    units = read_units(sample(task.name).pool, ())
    assert task.score_columns(units) == {}
    assert task.input_sizes(units).shape == (len(units), 2)
