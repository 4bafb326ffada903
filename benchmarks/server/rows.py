"""Rows as a tracer makes them: random vectors, one unit an input, a label each."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.service.contract import ModelSchema, RunKey

BATCH, WIDTH, CLASSES = 128, 512, 10
RUN = RunKey("benchmark", "v1")
SCHEMA = ModelSchema("classification", "benchmark", WIDTH, CLASSES)


def batches(worker: int, width: int = WIDTH, batch: int = BATCH) -> Iterator[dict[str, pa.Table]]:
    """Tables of whole inputs for ever; ids and recordings are those of the worker alone."""
    rng = np.random.default_rng(worker)
    pool = rng.standard_normal((64 * batch, width), dtype=np.float32)
    number = 0
    while True:
        offset = rng.integers(0, len(pool) - batch)
        features = np.maximum(pool[offset : offset + batch] + rng.standard_normal(dtype=np.float32), 0)
        yield tables(worker, number, features, rng)
        number += 1


def schema_of(width: int) -> ModelSchema:
    """The model of rows of a width."""
    return ModelSchema("classification", "benchmark", width, CLASSES)


def recordings_of(worker: int, number: int, batch: int = BATCH) -> np.ndarray:
    """Recordings of one batch of a worker, (B,)."""
    return (worker << 40) + number * batch + np.arange(batch)


def tables(worker: int, number: int, features: np.ndarray, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Input, record and truth rows of one batch."""
    n = len(features)
    logits = features[:, :CLASSES]
    common = {
        "input_id": [f"{worker}-{number}-{position}" for position in range(n)],
        "id_kind": ["str"] * n,
        "recording_id": recordings_of(worker, number, n),
        "recorded_at": [time.time_ns() // 1000] * n,
        "version_name": [RUN.version_name] * n,
        "dataset_type": ["train"] * n,
        "n_epoch": [0] * n,
        "weights_hash": ["weights"] * n,
        "pass_id": [f"pass{worker}"] * n,
    }
    ones, zeros = np.ones(n, np.int64), np.zeros(n, np.int64)
    labels = logits.argmax(1)
    vectors = {"features": _lists(features), "logits": _lists(logits)}
    record = {"unit": zeros, "label": labels, "score": rng.random(n), **vectors}
    truth = {"truth_index": zeros, "truth": labels, "ignored": [False] * n}
    return {
        columns.INPUTS: _table(columns.INPUTS, {**common, "n_units": ones}),
        columns.RECORDS: _table(columns.RECORDS, {**common, **record}),
        columns.TRUTHS: _table(columns.TRUTHS, {**common, **truth}),
    }


def _lists(matrix: np.ndarray) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))


def _table(kind: str, values: dict[str, object]) -> pa.Table:
    schema = columns.schema_of(kind)
    n = len(values["input_id"])
    arrays = [
        pa.array(values[field.name], type=field.type) if field.name in values else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
