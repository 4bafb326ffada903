"""Rows of a run of every task as a recorder makes them: labelled ones, and those of a pool."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ml_debugger.tasks import TASKS
from tests.helpers.labelled_boxes import BoxRun, detections, frame_detections
from tests.helpers.labelled_runs import Run, input_rows, make_part

__all__ = ["tables_of_task"]

Tables = dict[str, pa.Table]
_PARTS = {"train": 60, "val": 160, "pool": 40}


def _rows_of_inputs(name: str) -> Tables:
    del name  # the task of labelled runs
    run = Run({tag: make_part(count, seed) for seed, (tag, count) in enumerate(_PARTS.items())})
    starts = [sum(list(_PARTS.values())[:number]) for number in range(len(_PARTS))]
    inputs = [input_rows(count, tag, start=start) for (tag, count), start in zip(_PARTS.items(), starts, strict=True)]
    return run.tables | {"inputs": pa.concat_tables(inputs)}


def _boxes(make: Callable[..., Any]) -> Callable[[str], Tables]:
    return lambda name: BoxRun({tag: make(n, seed) for seed, (tag, n) in enumerate(_PARTS.items())}, TASKS[name]).tables


_MADE: dict[str, Callable[[str], Tables]] = {
    "classification": _rows_of_inputs,
    "object_detection": _boxes(detections),
    "object_detection_3d": _boxes(frame_detections),
}


@functools.cache
def tables_of_task(name: str) -> Tables:
    """Inputs, records and truths of a task, of all dataset_types together; a new task needs an entry here."""
    tables = _MADE[name](name)
    inputs = tables["inputs"]
    units = Counter(tables["records"]["recording_id"].to_pylist())
    counts = pa.array([units[recording] for recording in inputs["recording_id"].to_pylist()], pa.int64())
    at = inputs.schema.get_field_index("n_units")
    return tables | {
        "inputs": inputs.set_column(at, inputs.schema.field(at), counts.cast(inputs.schema.field(at).type))
    }
