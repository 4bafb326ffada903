"""Tables of a traced run, read as the store reads them, and what the product makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.errors import MLDebuggerWarning
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks import Task
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.types import ModelOutput

__all__ = ["Run", "evaluated", "out_of_fold", "promised", "scored"]

Answered = dict[str, NDArray[Any]]


class Run:
    """Tables of a traced run, read as the store reads them.

    Args:
        task: What was traced.
        output: What the adapter recorded of all inputs.
        ids: ``(B,)`` of the inputs.
        annotations: Ground truth of each, as a tracer takes it.
        dataset_type: The tag of all.
    """

    def __init__(
        self,
        task: Task,
        output: ModelOutput,
        ids: NDArray[np.int64],
        annotations: Sequence[Any],
        dataset_type: str = "val",
    ) -> None:
        self.task = task
        count = len(ids)
        given = {
            "input_id": [str(name) for name in ids],
            "id_kind": ["int"] * count,
            "recording_id": list(range(count)),
            "recorded_at": [1] * count,
            "version_name": ["v1"] * count,
            "dataset_type": [dataset_type] * count,
            "n_epoch": [None] * count,
            "weights_hash": ["w"] * count,
            "pass_id": ["p"] * count,
            "n_units": np.bincount(output.input_index, minlength=count).tolist(),
            "frame_context": [None] * count if output.frame_context is None else list(output.frame_context),
        }
        schema = columns.schema_of(columns.INPUTS)
        inputs = pa.table([pa.array(given[field.name], type=field.type) for field in schema], schema=schema)
        self.tables = {
            columns.INPUTS: inputs,
            columns.RECORDS: task.predictions(output, inputs),
            columns.TRUTHS: task.truths(list(annotations), inputs, None),
        }

    def read(self, kind: str, names: tuple[str, ...], tags: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
        """Rows of one kind (a ``Reader`` of the evaluation)."""
        yield from self.tables[kind].select(list(names)).to_batches()


def evaluated(task: Task, read: Callable[..., Iterator[pa.RecordBatch]], **options: Any) -> Evaluation:
    """What the product learns of a run; ``options`` are those of an evaluation, without intervals."""
    request = EvaluationRequest(RunKey("m", "v1"), options={"bootstrap": 0, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MLDebuggerWarning)
        return run_evaluation(request, task, read)


def out_of_fold(found: Evaluation, records: pa.Table) -> Mapping[str, NDArray[Any]]:
    """Error probabilities of labelled records, in their order, none learned from itself or its input."""
    keys = ("recording_id", "unit")
    place = {key: row for row, key in enumerate(zip(*(found.samples[name].to_pylist() for name in keys), strict=True))}
    wanted = zip(*(records[name].to_numpy().tolist() for name in keys), strict=True)
    order = np.array([place[key] for key in wanted])
    return {name: found.samples[name].to_numpy()[order] for name in columns.ERROR_COLUMNS}


def scored(task: Task, found: Evaluation, records: pa.Table) -> Answered:
    """Error probabilities and zones of records that had no part in what was learned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MLDebuggerWarning)
        rows = score_rows(task, found.model, records, "r")
    return {name: rows[name].to_numpy(zero_copy_only=False) for name in (*columns.ERROR_COLUMNS, "zone")}


def promised(found: Evaluation) -> float:
    """The error rate promised for ``stable_coverage``; NaN where nothing is."""
    promise = found.info["promise"]
    return float(promise["risk"]) if promise["rows"] else float("nan")
