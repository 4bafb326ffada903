"""The estimator under test, through the product's own evaluation and scoring; only this file knows how to call them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.error_detection.traces import Split
from ml_debugger import columns
from ml_debugger.errors import EvaluationWarning
from ml_debugger.estimation import ErrorModel
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import run_evaluation
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.types import ModelOutput

__all__ = ["Estimates", "Evaluated", "Traced", "evaluate"]

FloatArray = NDArray[np.floating]

RUN = RunKey("benchmark", "v1")
RESULT = "benchmark"
TASK = TASKS["classification"]
SCORING_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Traced:
    """Labelled rows with their ids and dataset type, as a tracer would have stored them."""

    split: Split
    dataset_type: str
    ids: tuple[str, ...]

    @classmethod
    def of(cls, split: Split, dataset_type: str) -> Traced:
        """Rows with ids of their own."""
        return cls(split, dataset_type, tuple(f"{dataset_type}-{i}" for i in range(len(split))))


@dataclass(frozen=True, eq=False)
class Estimates:
    """What the product says of N rows without labels: ``error_proba``, ``zone`` and ``support``, each ``(N,)``."""

    error_proba: FloatArray
    zone: NDArray[np.object_]
    support: FloatArray


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A finished evaluation: its error model and what its Result says; ``samples`` are the held-out rows."""

    model: ErrorModel
    metrics: Mapping[str, Any]
    info: Mapping[str, Any]
    samples: pa.Table

    @property
    def fell_back(self) -> bool:
        """Whether the calibrated baseline is used instead of a learned score."""
        return not self.model.meta["targets"][columns.ERROR_PROBA]["learners"]

    @property
    def promised_risk(self) -> float | None:
        """The highest error rate that ``stable_coverage`` promises; None where it promises nothing."""
        promise = self.info["promise"]
        return float(promise["risk"]) if promise["rows"] else None

    def estimate(self, split: Split) -> Estimates:
        """Estimates for rows that the evaluation has not seen, by the code that scores stored rows."""
        rows = Traced.of(split, columns.POOL)
        parts = [
            score_rows(TASK, self.model, records_of(rows, start, start + SCORING_BATCH), RESULT)
            for start in range(0, len(split), SCORING_BATCH)
        ]
        scored = pa.concat_tables(parts)
        return Estimates(
            scored.column("error_proba").to_numpy(),
            np.array(scored.column("zone").to_pylist(), dtype=object),
            scored.column("support").to_numpy(),
        )


def evaluate(traced: list[Traced], options: Mapping[str, Any] | None = None) -> Evaluated:
    """Evaluate traced rows: ``train`` fills the bank, other dataset types are learned and calibrated on."""
    tables: dict[str, list[pa.Table]] = {kind: [] for kind in (columns.INPUTS, columns.RECORDS, columns.TRUTHS)}
    start = 0
    for rows in traced:
        inputs = inputs_of(rows, start)
        tables[columns.INPUTS].append(inputs)
        tables[columns.RECORDS].append(_records(rows.split, inputs))
        tables[columns.TRUTHS].append(TASK.truths(rows.split.labels, inputs, rows.split.logits.shape[1]))
        start += len(rows.split)
    stored = {kind: pa.concat_tables(parts) for kind, parts in tables.items()}

    def read(
        kind: str, names: tuple[str, ...] | None, dataset_types: tuple[str, ...] | None = None
    ) -> Iterator[pa.RecordBatch]:
        table = stored[kind]
        if dataset_types is not None:
            table = table.filter(pa.compute.is_in(table.column("dataset_type"), pa.array(dataset_types)))
        yield from (table if names is None else table.select(list(names))).to_batches(SCORING_BATCH)

    chosen = {"bootstrap": 0, **(options or {})}  # the tables here have intervals of their own
    request = EvaluationRequest(RUN, result_name=RESULT, n_epoch=None, options=chosen)
    with warnings.catch_warnings():
        # A fallback is told by a warning; the tables show it too.
        warnings.simplefilter("ignore", EvaluationWarning)
        found = run_evaluation(request, TASK, read, None)
    return Evaluated(found.model, found.metrics, found.info, found.samples)


def inputs_of(rows: Traced, start: int) -> pa.Table:
    """Input rows with recording ids from ``start``."""
    n = len(rows.ids)
    constant = {
        "id_kind": "str",
        "recorded_at": 1,
        "version_name": RUN.version_name,
        "dataset_type": rows.dataset_type,
        "n_epoch": None,
        "weights_hash": "w",
        "pass_id": "p",
        "n_units": 1,
        "frame_context": None,
    }
    data = {"input_id": list(rows.ids), "recording_id": list(range(start, start + n))}
    data |= {name: [value] * n for name, value in constant.items()}
    schema = columns.schema_of(columns.INPUTS)
    return pa.table([pa.array(data[f.name], type=f.type) for f in schema], schema=schema)


def records_of(rows: Traced, start: int, stop: int) -> pa.Table:
    """Record rows of a range of traced rows."""
    part = Traced(
        rows.split.take(np.arange(start, min(stop, len(rows.split)))), rows.dataset_type, rows.ids[start:stop]
    )
    return _records(part.split, inputs_of(part, start))


def _records(split: Split, inputs: pa.Table) -> pa.Table:
    n = len(split)
    output = ModelOutput(
        n_inputs=n,
        input_index=np.arange(n),
        label=split.predicted,
        score=softmax(split.wide, axis=1).max(axis=1),
        features=split.features,
        logits=split.logits,
    )
    return TASK.predictions(output, inputs)
